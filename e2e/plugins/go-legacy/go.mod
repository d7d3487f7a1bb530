module silverback.test/legacy

go 1.21

// go-pluginserver 0.6.1 was written against go-pdk 0.6.0, and a shared object only loads into a server that
// was built from the very same packages: hence one go.mod for both. codec is newer than the server asks for,
// as 1.2.1 does not link with today's Go.
require (
	github.com/Kong/go-pdk v0.6.0
	github.com/Kong/go-pluginserver v0.6.1
	github.com/ugorji/go/codec v1.2.12
)
