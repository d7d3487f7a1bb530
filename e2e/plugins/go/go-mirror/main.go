// go-mirror mirrors a request: js-mirror, py-mirror and mirror-lua do the same.
package main

import (
	"fmt"
	"os"

	pdk "github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"
)

// Config is the plugin's configuration.
type Config struct {
	Message string `json:"message"`
}

// New makes an empty configuration, for the plugin server to fill in.
func New() interface{} { return &Config{} }

// Access mirrors the request, or refuses it.
func (conf Config) Access(kong *pdk.PDK) {
	method, _ := kong.Request.GetMethod()
	path, _ := kong.Request.GetPath()
	number, _ := kong.Request.GetQueryArg("n")
	if number == "" {
		number = "none"
	}
	seen := method + " " + path + " " + number
	_ = kong.Log.Notice("mirror: ", seen)
	_ = kong.Ctx.SetShared("mirror", seen)
	_ = kong.Response.SetHeader("X-Mirror", conf.Message)
	_ = kong.Response.AddHeader("X-List", "1")
	_ = kong.Response.AddHeader("X-List", "2")
	if deny, _ := kong.Request.GetHeader("x-deny"); deny != "" {
		headers := map[string][]string{"Content-Type": {"application/json"}, "X-Reason": {"header"}}
		kong.Response.Exit(403, []byte(`{"denied":"`+number+`"}`), headers)
		return
	}
	_ = kong.ServiceRequest.SetHeader("X-Seen", seen)
	_ = kong.ServiceRequest.ClearHeader("X-Secret")
	_ = kong.ServiceRequest.SetRawQuery("n=" + number + "&mirrored=yes")
}

func main() {
	if err := server.StartServer(New, "1.0.0", 30); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
