"""Misbehaves as its configuration says, in one phase; in every other phase it does nothing."""
import os
import threading
import time

PHASES = ["certificate", "rewrite", "access", "response", "log", "preread"]
DEEDS = ["tell", "raise", "hang", "sleep", "exit", "move", "deny", "nothing"]
Schema = (
    {"phase": {"type": "string", "one_of": PHASES}},
    {"do": {"type": "string", "one_of": DEEDS}},
    {"port": {"type": "integer"}},
    {"ms": {"type": "integer", "default": 0}},
    {"after_call": {"type": "boolean", "default": False}},
    {"token": {"type": "string"}},
)
version = "1.0.0"
priority = 3


class Plugin:
    def __init__(self, config):
        self.config = config

    def act(self, kong, phase):
        if phase == self.config.get("phase"):
            self.misbehave(kong, phase, self.config.get("do"))
        if phase == "access" and self.config.get("token"):
            kong.service.request.set_header("x-fault-token", self.config["token"])

    def misbehave(self, kong, phase, what):
        if self.config.get("after_call"):
            kong.client.get_ip()
        if what == "tell":
            kong.log.err("py-fault has run in " + phase)
        if what == "raise":
            raise RuntimeError("raised in " + phase)
        if what == "hang":
            threading.Event().wait()
        if what == "sleep":
            time.sleep(self.config["ms"] / 1000)
        if what == "exit":
            os._exit(3)
        if what == "move":
            self.move(kong)
        if what == "deny":
            kong.response.exit(403)

    def move(self, kong):
        """Sends the client elsewhere, and tells whom by way of the shared context."""
        ip, _ = kong.client.get_ip()
        kong.ctx.shared.set("moved", ip)
        moved, _ = kong.ctx.shared.get("moved")
        kong.service.set_target("127.0.0.1", self.config["port"])
        kong.log.err("py-fault has moved " + moved)

    def certificate(self, kong):
        self.act(kong, "certificate")

    def preread(self, kong):
        self.act(kong, "preread")

    def rewrite(self, kong):
        self.act(kong, "rewrite")

    def access(self, kong):
        self.act(kong, "access")

    def response(self, kong):
        self.act(kong, "response")

    def log(self, kong):
        self.act(kong, "log")
