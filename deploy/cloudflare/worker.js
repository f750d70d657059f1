// Hits on the shop's own host, as a Cloudflare Worker: route `shop.example/m/*`, in the zone that t.shop.example is in too.
//
// A hit keeps its method, body, cookies and client: within one zone Cloudflare gives the visitor's own address on to the
// gateway as CF-Connecting-IP. Answers come back as they are, with their cookies and redirects.
//
// Variable GATEWAY: the tagging host's origin, such as https://t.shop.example
export default {
  async fetch(request, env) {
    const asked = new URL(request.url);
    const target = new URL(asked.pathname + asked.search, env.GATEWAY);
    const hit = new Request(target, request);
    // The site it came through: the gateway tells sources apart by their own host, and browsers send Origin to another only.
    hit.headers.delete("X-Forwarded-Host");
    try {
      return await fetch(hit, { redirect: "manual" });
    } catch {
      // The gateway cannot be reached: say so, so that clients which retry do.
      return new Response(null, { status: 503, headers: { "Retry-After": "5", "Cache-Control": "no-store" } });
    }
  },
};
