//go:build embedded

package main

// Importing the server package registers flags that go-pluginserver has too, so a shared object must not.
import (
	"fmt"
	"os"

	"github.com/Kong/go-pdk/server"
)

func main() {
	if err := server.StartServer(New, Version, Priority); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
