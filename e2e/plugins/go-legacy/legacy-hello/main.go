// legacy-hello is the second plugin of the same go-pluginserver: it marks the request with its message.
package main

import pdk "github.com/Kong/go-pdk"

// Config is the plugin's configuration.
type Config struct {
	Message string `json:"message"`
}

// New makes an empty configuration, for the plugin server to fill in.
func New() interface{} { return &Config{} }

// Version and Priority are looked up by name in the shared object.
var (
	Version  = "1.0.0"
	Priority = 8
)

// Access marks the request and the answer with the configured message.
func (conf Config) Access(kong *pdk.PDK) {
	order, _ := kong.Ctx.GetSharedString("order")
	order += "legacy-hello "
	_ = kong.Ctx.SetShared("order", order)
	_ = kong.ServiceRequest.SetHeader("x-order", order)
	_ = kong.ServiceRequest.SetHeader("x-legacy-hello", conf.Message)
	_ = kong.Response.SetHeader("x-legacy-hello", conf.Message)
}

func main() {}
