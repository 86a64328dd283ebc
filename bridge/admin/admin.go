// Package admin is the HTTP side of a gateway: health for machines, metrics
// for Prometheus. It reads snapshots and never reaches into what it reports.
package admin

import (
	"io"
	"net/http"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/stomp"
)

// Deps is what a handler reports on. All may be called at any time.
type Deps struct {
	Ready  func() error // nil: clients can be served; else why not
	Bridge func() bridge.Stats
	STOMP  func() stomp.Stats
	MQTT   func() mqtt.Stats
	Auth   func() auth.Stats
}

// New returns the handler for /healthz, /readyz and /metrics.
func New(deps Deps) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := deps.Ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", metricsHandler(deps))
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
