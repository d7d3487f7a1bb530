// go-fault misbehaves as its configuration says, in one phase; in every other phase it does nothing.
package main

import (
	"fmt"
	"os"
	"time"

	pdk "github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"
)

// Config says what to do and when.
type Config struct {
	Phase     string `json:"phase"`      // certificate, rewrite, access, response, log or preread
	Do        string `json:"do"`         // tell, raise, hang, sleep, exit (the process ends), move, deny or nothing
	Ms        int    `json:"ms"`         // how long sleep takes
	AfterCall bool   `json:"after_call"` // call a PDK function first
	Port      int    `json:"port"`       // where move sends a stream
	Token     string `json:"token"`      // what access marks the upstream's request with
}

// New makes an empty configuration, for the plugin server to fill in.
func New() interface{} { return &Config{} }

func (conf Config) act(kong *pdk.PDK, phase string) {
	if phase == conf.Phase {
		if conf.AfterCall {
			_, _ = kong.Client.GetIp()
		}
		switch conf.Do {
		case "tell":
			_ = kong.Log.Err("go-fault has run in " + phase)
		case "raise":
			panic("raised in " + phase)
		case "hang":
			select {}
		case "sleep":
			time.Sleep(time.Duration(conf.Ms) * time.Millisecond)
		case "exit":
			os.Exit(3)
		case "move":
			conf.move(kong)
		case "deny":
			kong.Response.ExitStatus(403)
		}
	}
	if phase == "access" && conf.Token != "" {
		_ = kong.ServiceRequest.SetHeader("x-fault-token", conf.Token)
	}
}

// move sends the client elsewhere, and tells whom by way of the shared context.
func (conf Config) move(kong *pdk.PDK) {
	ip, _ := kong.Client.GetIp()
	_ = kong.Ctx.SetShared("moved", ip)
	moved, _ := kong.Ctx.GetSharedString("moved")
	_ = kong.Service.SetTarget("127.0.0.1", conf.Port)
	_ = kong.Log.Err("go-fault has moved " + moved)
}

// Certificate runs in the TLS handshake.
func (conf Config) Certificate(kong *pdk.PDK) { conf.act(kong, "certificate") }

// Preread runs before the first byte of a TCP connection is proxied.
func (conf Config) Preread(kong *pdk.PDK) { conf.act(kong, "preread") }

// Rewrite runs for instances that are not bound to a route.
func (conf Config) Rewrite(kong *pdk.PDK) { conf.act(kong, "rewrite") }

// Access runs before the upstream is asked.
func (conf Config) Access(kong *pdk.PDK) { conf.act(kong, "access") }

// Response runs when the upstream's whole answer is there.
func (conf Config) Response(kong *pdk.PDK) { conf.act(kong, "response") }

// Log runs after the answer has been sent.
func (conf Config) Log(kong *pdk.PDK) { conf.act(kong, "log") }

func main() {
	if err := server.StartServer(New, "1.0.0", 5); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
