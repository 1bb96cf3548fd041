// Package sshconn gives streams between two nodes over SSH, with both keys checked.
//
// Each pair of nodes keeps one Session: two SSH connections, dialled by the same
// side. The control connection carries small messages; the blocks connection
// carries bulk, on any number of channels, so that bulk never delays a message. Where
// an answer takes long, there are several connections for blocks.
// A Mesh keeps exactly one session with each peer: it listens, dials, dials
// again, and settles what happens when both sides dial at once. An SSH client
// that is not a node gets nothing: no shell, no command, no forwarding.
//
// On the wire (RFC 4250 to 4254, names in the form of RFC 4251 section 6): the
// dialler opens a channel "control@resonate" whose extra data is a random token
// and the instance of its process, 16 bytes each; on a second connection it sends
// the global request "blocks@resonate" with the token, whose answer carries the
// acceptor's instance; on a far line, on some more with the same token. Then either
// side opens "block@resonate" channels, and on the control connection
// "raft@resonate" and "locks@resonate"; it sends
// "keepalive@resonate" and, before it closes, "bye@resonate" with the reason.
//
// A stranger that was invited authenticates with its key and the secret of its
// invitation, under a user name of its own, and gets one channel, "join@resonate".
package sshconn

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

var (
	// ErrRefused is what errors.Is finds where the peer does not want this node.
	ErrRefused = errors.New("refused by the peer")
	// errSelf: the other end has this node's own key.
	errSelf = errors.New("that is this node itself, or another process with the same key")
)

const (
	defaultKeepalive     = 15 * time.Second
	softwareVersion      = "SSH-2.0-resonate"
	trustRefusal         = "its key is not trusted there"
	acceptErrorPause     = 100 * time.Millisecond
	instanceSize         = 16
	maxBannerSize        = 500
	connectTimeout       = 4 * time.Second
	handshakeTimeout     = 10 * time.Second
	commandTimeout       = 30 * time.Second
	answerTime           = 5 * time.Second
	settledAfter         = 5 * time.Second
	goodbyeTime          = 250 * time.Millisecond
	lossNoticeTime       = 100 * time.Millisecond
	networkKeepaliveNone = -1
)

// Config is what an Endpoint needs to know. Identity and Trusted must be set.
type Config struct {
	Identity  *Identity
	Trusted   func(ssh.PublicKey) error // called at once from several goroutines, for each key offered
	Joining   *Joining                  // nil: nobody can join
	Log       *slog.Logger              // nil: discard
	Keepalive time.Duration             // how often each side asks for a sign of life; 0: 15 s

	// MaxSend and MaxRecv bound what all sessions send and receive together, in
	// bytes a second, at least 16 KiB; 0: no limit. Bulk waits for it; messages do
	// not. SetRates changes them.
	MaxSend, MaxRecv int64
}

// timing holds the durations that tests shorten.
type timing struct {
	connect   time.Duration // for a TCP connection to one address
	handshake time.Duration // from TCP connection to session, for each step of the way
	command   time.Duration // the same, where something else makes the connection: it may ask others, and hop
	settled   time.Duration // a session that lasted this long is a success: back-off starts anew
	join      time.Duration // for all that an invited stranger has to say
	answer    time.Duration // to a probe
	look      time.Duration // how often the machine's surroundings are looked at
	far       time.Duration // from what round trip on blocks go over several connections
	redial    span
	refused   span
}

// Endpoint is where a node listens, with its key. A Mesh runs on it.
type Endpoint struct {
	identity  *Identity
	trusted   func(ssh.PublicKey) error
	log       *slog.Logger
	keepalive time.Duration
	joining   *Joining
	instance  instance // of this process, told to peers
	door      door
	rates     rates
	joins     chan struct{} // one for each stranger that joins
	notices   notices
	timing    timing

	lookAround func() surroundings

	moving sync.Mutex     // held while listeners are opened and closed
	loops  sync.WaitGroup // one for each listener, once a mesh runs
	closed chan struct{}

	mu        sync.Mutex
	listeners []*listener
	handle    func(net.Conn) // of the mesh that runs
	isClosed  bool
}

// instance is drawn at random by each process, and tells a node that started
// again from one that dials a second time.
type instance [instanceSize]byte

// Listen opens addrs (HOST:PORT) over TCP. Port 0 is any free one, the same at
// all of them; [::] and no host stand for all addresses of the machine; without
// addresses, only Mesh.Accept brings connections in.
func Listen(addrs []string, c Config) (*Endpoint, error) {
	at, err := places(addrs, "")
	if err != nil {
		return nil, err
	}
	listeners, err := bindAll(at)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{
		identity: c.Identity, trusted: c.Trusted, joining: c.Joining, log: c.Log, keepalive: c.Keepalive,
		listeners: listeners, lookAround: lookAround,
		closed: make(chan struct{}),
		joins:  make(chan struct{}, maxJoins),
		timing: timing{
			connect:   connectTimeout,
			handshake: handshakeTimeout,
			command:   commandTimeout,
			settled:   settledAfter,
			join:      joinTime,
			answer:    answerTime,
			look:      lookInterval,
			far:       farRTT,
			redial:    span{100 * time.Millisecond, 5 * time.Second},
			refused:   span{time.Second, 30 * time.Second},
		},
	}
	e.SetRates(c.MaxSend, c.MaxRecv)
	rand.Read(e.instance[:]) // never fails, says crypto/rand
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.keepalive <= 0 {
		e.keepalive = defaultKeepalive
	}
	return e, nil
}

// algorithms: AES-128-GCM is the fastest where the processor helps (2.5 times
// ChaCha20); everything that is weak, or that no node needs, is off.
func algorithms() ssh.Config {
	return ssh.Config{
		KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
		Ciphers:      []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305},
		MACs:         []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
	}
}

// permit checks the other end's key, in either direction.
func (e *Endpoint) permit(key ssh.PublicKey) error {
	if key.Type() != ssh.KeyAlgoED25519 {
		return fmt.Errorf("%w: %s is of type %s, nodes have Ed25519 keys", ErrUntrusted, ssh.FingerprintSHA256(key), key.Type())
	}
	if idOf(key) == e.identity.id {
		return errSelf
	}
	return e.trusted(key)
}
