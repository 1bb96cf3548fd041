package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// An entry is a payment that was made.
type entry struct {
	Payment string `json:"payment"`
	Client  string `json:"client"`
	Amount  int    `json:"amount"`
	Token   string `json:"token"`
}

// bank makes every payment it is asked for, and would make one twice. What it refuses is a token lower than the highest it has seen for that
// payment, also where somebody only looks: who has looked can then rely on it that nobody with a lower one pays after that.
type bank struct {
	mux *http.ServeMux

	mu      sync.Mutex
	highest map[string]string // by payment
	ledger  []entry
}

func newBank() *bank {
	b := &bank{mux: http.NewServeMux(), highest: map[string]string{}}
	b.mux.HandleFunc("GET /payments/{id}", b.look)
	b.mux.HandleFunc("POST /payments/{id}", b.pay)
	b.mux.HandleFunc("GET /ledger", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, b.entries("")) })
	return b
}

func (b *bank) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.mux.ServeHTTP(w, r) }

// entries returns what was made of a payment, or of all with none named.
func (b *bank) entries(payment string) []entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := []entry{}
	for _, e := range b.ledger {
		if payment == "" || e.Payment == payment {
			list = append(list, e)
		}
	}
	return list
}

// tokenLength is that of all of resonate's tokens, which therefore can be compared as text.
const tokenLength = 33

// admit takes the token into account, and tells whether it is high enough. It is called with the mutex held.
func (b *bank) admit(payment, token string) error {
	switch highest := b.highest[payment]; {
	case len(token) != tokenLength:
		return fmt.Errorf("token %q: want the one that came with the lock", token)
	case token < highest:
		return fmt.Errorf("token %s is too low: %s was seen, so somebody else has had the lock since", token, highest)
	}
	b.highest[payment] = token
	return nil
}

// look tells what was made of a payment.
func (b *bank) look(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	b.mu.Lock()
	err := b.admit(id, r.URL.Query().Get("token"))
	b.mu.Unlock()
	if err != nil {
		reply(w, http.StatusConflict, refusal{err.Error()})
		return
	}
	reply(w, http.StatusOK, b.entries(id))
}

// pay makes a payment.
func (b *bank) pay(w http.ResponseWriter, r *http.Request) {
	var e entry
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&e); err != nil {
		reply(w, http.StatusBadRequest, refusal{err.Error()})
		return
	}
	e.Payment = r.PathValue("id")
	b.mu.Lock()
	err := b.admit(e.Payment, e.Token)
	if err == nil {
		b.ledger = append(b.ledger, e)
	}
	b.mu.Unlock()
	if err != nil {
		reply(w, http.StatusConflict, refusal{err.Error()})
		return
	}
	reply(w, http.StatusOK, e)
}

// refusal is why the bank did nothing.
type refusal struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // who is gone does not need it
}
