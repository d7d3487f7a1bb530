"""A plugin that is its own server: `py-embedded.py -p PREFIX`, and `--dump` for its description."""

Schema = ({"message": {"type": "string"}},)
version = "1.0.0"
priority = 7

NAME = "py-embedded"


class Plugin:
    def __init__(self, config):
        self.message = config.get("message", "")

    def access(self, kong):
        kong.service.request.set_header("x-" + NAME, self.message)
        kong.response.set_header("x-" + NAME, self.message)


if __name__ == "__main__":
    from kong_pdk.cli import start_dedicated_server

    start_dedicated_server(NAME, Plugin, version, priority, Schema)
