"""Mirrors a request: go-mirror, js-mirror and mirror-lua do the same."""

Schema = ({"message": {"type": "string"}},)
version = "1.0.0"
priority = 10


class Plugin:
    def __init__(self, config):
        self.message = config.get("message", "")

    def access(self, kong):
        method, _ = kong.request.get_method()
        path, _ = kong.request.get_path()
        number, _ = kong.request.get_query_arg("n")
        number = number or "none"
        seen = f"{method} {path} {number}"
        kong.log.notice("mirror: ", seen)
        kong.ctx.shared.set("mirror", seen)
        kong.response.set_header("X-Mirror", self.message)
        kong.response.add_header("X-List", "1")
        kong.response.add_header("X-List", "2")
        deny, _ = kong.request.get_header("x-deny")
        if deny:
            headers = {"Content-Type": "application/json", "X-Reason": "header"}
            return kong.response.exit(403, '{"denied":"%s"}' % number, headers)
        kong.service.request.set_header("X-Seen", seen)
        kong.service.request.clear_header("X-Secret")
        kong.service.request.set_raw_query(f"n={number}&mirrored=yes")
