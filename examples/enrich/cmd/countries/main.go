// Command countries stands in for a service that knows where addresses are.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	addr := flag.String("addr", "localhost:8081", "address to listen on")
	file := flag.String("address-file", "", "file that gets the URL")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	if *file != "" {
		if err := os.WriteFile(*file, []byte("http://"+l.Addr().String()), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	http.HandleFunc("GET /countries/{ip}", func(w http.ResponseWriter, r *http.Request) {
		if net.ParseIP(r.PathValue("ip")) == nil {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "Iceland")
	})
	log.Fatal(http.Serve(l, nil)) //nolint:gosec // a stand-in
}
