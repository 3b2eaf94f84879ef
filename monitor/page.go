package monitor

import (
	"embed"
	"net/http"
)

// The page consists of three files and loads nothing else.
//
//go:embed page
var pageFiles embed.FS

func page(mux *http.ServeMux) {
	for path, file := range map[string]string{"GET /{$}": "page/page.html", "GET /page.css": "page/page.css", "GET /page.js": "page/page.js"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, pageFiles, file)
		})
	}
}
