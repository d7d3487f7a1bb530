// go-hello greets: it sets a header of the answer and of the upstream's request, and appends its name to
// the order in which the plugins of one request have run.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	pdk "github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"
)

// Config is the plugin's configuration.
type Config struct {
	Message string `json:"message"`
}

// New makes an empty configuration, for the plugin server to fill in.
func New() interface{} { return &Config{} }

// The name is the executable's, so that one source makes several plugins.
var name = filepath.Base(os.Args[0])

// Access marks the request and the answer with the configured message.
func (conf Config) Access(kong *pdk.PDK) {
	host, err := kong.Request.GetHeader("host")
	if err != nil {
		_ = kong.Log.Err("reading the Host header: ", err.Error())
		return
	}
	order, _ := kong.Ctx.GetSharedString("order")
	order += name + " "
	_ = kong.Ctx.SetShared("order", order)
	_ = kong.ServiceRequest.SetHeader("x-order", order)
	_ = kong.ServiceRequest.SetHeader("x-"+name, conf.Message)
	_ = kong.Response.SetHeader("x-"+name, fmt.Sprintf("Go says %s to %s", conf.Message, host))
}

func main() {
	if err := server.StartServer(New, "1.0.0", 30); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
