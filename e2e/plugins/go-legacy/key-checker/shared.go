//go:build !embedded

package main

// A shared object has no program, but a package main must.
func main() {}
