"""What a source says of the shops whose signed webhooks it takes at `/hooks/<shop>/<source>`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, WithJsonSchema

from gateway.config.strict import Strict

MOST_SECRETS = 4
_FORM = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_SECRETS}]}


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Secrets = Annotated[
    list[Annotated[SecretStr, Field(min_length=1)]],
    BeforeValidator(_listed),
    Field(min_length=1, max_length=MOST_SECRETS),
    WithJsonSchema(_FORM),
]


class Hook(Strict):
    """The webhooks of one shop; a hit that none of the secrets signed is refused."""

    secret: Secrets = Field(
        description="the shop's signing secret, a reference; a list of two while a new one takes the place of the old"
    )

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The secrets as keys of an HMAC."""
        return tuple(secret.get_secret_value().encode() for secret in self.secret)


class Hooks(Strict):
    """The shops, by name."""

    shopify: Hook | None = Field(default=None, description="webhooks of Shopify: docs/shopify.md")
    woocommerce: Hook | None = Field(default=None, description="webhooks of WooCommerce: docs/woocommerce.md")
    stripe: Hook | None = Field(default=None, description="webhooks of Stripe: docs/stripe.md")

    @property
    def any(self) -> bool:
        """Whether webhooks of any shop are taken."""
        return bool(self.shopify or self.woocommerce or self.stripe)

    def of(self, shop: str) -> Hook | None:
        """The hook of a shop by its name."""
        found: Hook | None = getattr(self, shop, None)
        return found
