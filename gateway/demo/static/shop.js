// The shop: products, product, cart, checkout, thanks. A page of its own would be a document; here it is the part after `#`.
import { uuid7 } from "./tracking.js";

const PRODUCTS = [
  { id: "cup", name: "Enamel cup", price: 14.5, about: "Holds coffee, outlives you.", shape: "M20 24h48v34a16 16 0 0 1-16 16H36a16 16 0 0 1-16-16zM68 32h8a10 10 0 0 1 0 20h-8v-7h7a3 3 0 0 0 0-6h-7z" },
  { id: "tea", name: "Green tea", price: 9, about: "A hundred grams from the first harvest.", shape: "M26 20h44l-4 12v40a6 6 0 0 1-6 6H36a6 6 0 0 1-6-6V32zM38 44h20v18H38z" },
  { id: "lamp", name: "Desk lamp", price: 42, about: "Warm light, no app.", shape: "M36 18h24l14 28H22zM45 46h6v24h-6zM32 70h32v8H32z" },
  { id: "book", name: "Notebook", price: 12.9, about: "192 dotted pages.", shape: "M26 16h40a6 6 0 0 1 6 6v52a6 6 0 0 1-6 6H26zM22 16h4v64h-4zM36 30h24v6H36z" },
];
const CURRENCY = "EUR";
const CART = "tagway-demo-cart";
const BUYER = { email: "jane@example.com", first_name: "Jane", last_name: "Doe", country: "DE" };

const cash = (value) => `${value.toFixed(2)} €`;
const view = document.getElementById("view");
let tracker;
let cart = JSON.parse(localStorage.getItem(CART) ?? "{}");

const find = (id) => PRODUCTS.find((product) => product.id === id);
const lines = () => Object.entries(cart).map(([id, quantity]) => ({ ...find(id), quantity }));
const total = () => Math.round(lines().reduce((sum, line) => sum + line.price * line.quantity, 0) * 100) / 100;
const item = ({ id, name, price, quantity = 1 }) => ({ id, name, price, quantity, category: "Demo" });

/** An element with children; text is text, never markup. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function picture(product) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 96 96");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("picture", `hue-${product.id}`);
  path.setAttribute("d", product.shape);
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  return svg;
}

function put(id, quantity) {
  if (quantity > 0) cart[id] = quantity;
  else delete cart[id];
  localStorage.setItem(CART, JSON.stringify(cart));
  showCount();
}

function showCount() {
  document.getElementById("cart-count").textContent = lines().reduce((sum, line) => sum + line.quantity, 0);
}

function add(product) {
  put(product.id, (cart[product.id] ?? 0) + 1);
  tracker.track("add_to_cart", { props: { value: product.price, currency: CURRENCY }, items: [item(product)] });
}

function productList() {
  const card = (product) =>
    el("li", {},
      el("a", { href: `#/product/${product.id}` }, picture(product), el("b", {}, product.name)),
      el("span", { class: "price" }, cash(product.price)),
      el("button", { type: "button", "aria-label": `Add ${product.name} to the cart`, onclick: () => add(product) }, "Add to cart"));
  const pay = el("p", { class: "onward" }, el("a", { class: "button", href: "#/checkout" }, "Go to checkout"));
  return ["Products", el("ul", { class: "products" }, ...PRODUCTS.map(card)), pay];
}

function productPage(product) {
  tracker.track("view_item", { props: { value: product.price, currency: CURRENCY }, items: [item(product)] });
  return [product.name,
    el("div", { class: "product" }, picture(product),
      el("div", {}, el("p", {}, product.about), el("p", { class: "price big" }, cash(product.price)),
        el("button", { type: "button", onclick: () => add(product) }, "Add to cart"),
        el("p", {}, el("a", { href: "#/cart" }, "To the cart")))),
  ];
}

function cartPage() {
  if (!lines().length) return ["Cart", el("p", {}, "Nothing in it yet. ", el("a", { href: "#/" }, "To the products"))];
  const row = (line) => {
    const change = (by) => () => { put(line.id, line.quantity + by); draw(); };
    return el("li", {}, picture(line), el("b", {}, line.name),
      el("span", { class: "amount" },
        el("button", { type: "button", class: "quiet", "aria-label": `One ${line.name} less`, onclick: change(-1) }, "−"),
        ` ${line.quantity} `,
        el("button", { type: "button", class: "quiet", "aria-label": `One ${line.name} more`, onclick: change(1) }, "+")),
      el("span", { class: "price" }, cash(line.price * line.quantity)));
  };
  return ["Cart", el("ul", { class: "lines" }, ...lines().map(row)), sum(),
    el("p", { class: "onward" }, el("a", { class: "button", href: "#/checkout" }, "Go to checkout"))];
}

const sum = () => el("p", { class: "sum" }, el("span", {}, "Total"), el("b", {}, cash(total())));

function checkoutPage() {
  if (!lines().length) add(PRODUCTS[0]);
  tracker.track("begin_checkout", { props: { value: total(), currency: CURRENCY }, items: lines().map(item) });
  const name = el("input", { name: "name", value: `${BUYER.first_name} ${BUYER.last_name}`, autocomplete: "off" });
  const email = el("input", { name: "email", type: "email", value: BUYER.email, required: "", autocomplete: "off" });
  const pay = el("button", { type: "submit" }, `Pay ${cash(total())}`);
  const form = el("form", { class: "checkout" },
    el("label", {}, "Name", name), el("label", {}, "E-mail", email),
    el("p", { class: "hint" }, "Made-up data. Vendors get the e-mail only as a hash, and only with consent."), pay);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    pay.disabled = true;
    buy(name.value.trim(), email.value.trim()).catch(() => { pay.disabled = false; });
  });
  return ["Checkout", form];
}

async function buy(name, email) {
  const event = uuid7();
  const answer = await fetch("/api/orders", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ event, total: total(), consent: tracker.consent }),
  });
  if (!answer.ok) throw new Error(`the checkout answered ${answer.status}`);
  const { order } = await answer.json();
  const [first_name, ...rest] = name.split(" ");
  const user = { email, first_name: first_name || undefined, last_name: rest.join(" ") || undefined, country: BUYER.country };
  tracker.track("purchase", {
    user,
    props: { transaction_id: order, value: total(), currency: CURRENCY },
    items: lines().map(item),
  }, event);
  cart = {};
  localStorage.setItem(CART, "{}");
  showCount();
  location.hash = `#/thanks/${order}`;
}

function thanksPage(order) {
  return ["Thank you", el("div", { class: "thanks" },
    el("p", { class: "number" }, "Order ", el("b", { id: "order-number" }, order)),
    el("p", {}, el("a", { class: "button", href: "#/" }, "Buy something else")),
    el("h3", {}, "Try next"),
    el("ul", { class: "ideas" },
      el("li", {}, "Let the visitor say no above, and buy again."),
      el("li", {}, "Take a vendor down, buy, and bring it back."),
      el("li", {}, "Kill the gateway, and buy while it is down."),
      el("li", {}, "Open an order’s whole story.")))];
}

function content() {
  const [, page, id] = location.hash.split("/");
  if (page === "product" && find(id)) return productPage(find(id));
  if (page === "cart") return cartPage();
  if (page === "checkout") return checkoutPage();
  if (page === "thanks" && id) return thanksPage(decodeURIComponent(id));
  return productList();
}

function draw() {
  const [title, ...nodes] = content();
  view.replaceChildren(el("h2", {}, title), ...nodes);
}

function visit() {
  if (document.querySelector("#shop:target, #vendors:target")) return; // a skip link, not a page
  tracker.track("page_view");
  draw();
}

function showConsent() {
  const choice = tracker.consent;
  for (const radio of document.querySelectorAll("#consent input")) radio.checked = radio.value === choice;
  document.getElementById("banner").hidden = choice !== "unasked";
}

function showOutbox() {
  const note = document.getElementById("outbox");
  const waiting = tracker.waiting;
  note.hidden = !waiting;
  note.textContent = waiting ? `The shop keeps ${waiting} ${waiting === 1 ? "event" : "events"} until the gateway has confirmed it.` : "";
}

/** Draw the shop and follow the address, the consent switch and the outbox. */
export function startShop(theTracker) {
  tracker = theTracker;
  document.getElementById("consent").addEventListener("change", (event) => { tracker.consent = event.target.value; });
  document.getElementById("banner").addEventListener("click", (event) => {
    if (event.target.dataset.consent) tracker.consent = event.target.dataset.consent;
  });
  tracker.addEventListener("change", () => { showConsent(); showOutbox(); });
  addEventListener("hashchange", visit);
  showConsent();
  showCount();
  visit();
}
