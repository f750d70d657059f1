"""What every client tells: one visitor who agreed to everything, and one order of two products."""

CONTEXT = {
    "ip": "203.0.113.7",
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
    "page": {"url": "https://shop.example/cup", "referrer": "https://search.example/", "title": "Cup"},
    "consent": {"categoryPreferences": {"C0002": True, "C0004": True}},
}
TRAITS = {"email": "jane@example.com", "firstName": "Jane", "plan": "gold"}
ORDER = {"order_id": "o-1", "total": 47.4, "currency": "EUR", "tax": 6.4, "shipping": 4.9}
PRODUCTS = [
    {"product_id": "sku-1", "name": "Cup", "category": "Kitchen", "price": 20.5, "quantity": 2},
    {"product_id": "sku-2", "name": "Lid", "category": "Kitchen", "price": 1.5, "quantity": 1},
]
