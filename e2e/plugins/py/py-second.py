"""The second plugin of the same server: marks the request and the answer with its message."""

Schema = ({"message": {"type": "string", "default": "second"}},)
version = "2.0.0"
priority = 15


class Plugin:
    def __init__(self, config):
        self.message = config["message"]

    def access(self, kong):
        order, _ = kong.ctx.shared.get("order")
        order = (order or "") + "py-second "
        kong.ctx.shared.set("order", order)
        kong.service.request.set_header("x-order", order)
        kong.service.request.set_header("x-py-second", self.message)
        kong.response.set_header("x-py-second", self.message)
