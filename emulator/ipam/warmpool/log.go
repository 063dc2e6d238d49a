package warmpool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// level is a severity of ipamd's log.
type level int

const (
	levelDebug level = iota
	levelInfo
	levelWarn
	levelError
	levelFatal
)

var levelNames = [...]string{"debug", "info", "warn", "error", "fatal"}

// levelOf reads a level as ipamd does: what it does not know is debug.
func levelOf(s string) level {
	for i, name := range levelNames {
		if strings.EqualFold(s, name) {
			return level(i)
		}
	}
	return levelDebug
}

// The files of upstream that lines are from. Their line numbers would mean nothing
// here.
const (
	agent     = "aws-k8s-agent/main.go"
	ipamd     = "ipamd/ipamd.go"
	rpc       = "ipamd/rpc_handler.go"
	dataStore = "datastore/data_store.go"
	awsUtils  = "awsutils/awsutils.go"
)

// kept bounds a node's log: about 64 KiB when written out.
const kept = 400

// log keeps the last records of a node's log. What is written for every pod is kept
// as what it is about, and becomes text when somebody reads it.
type log struct {
	ring []record
	next int // of ring, once it is full
}

type record struct {
	at   int64
	what lines
}

// lines are what a record writes.
type lines interface {
	write(w *writer)
}

func (l *log) add(now time.Time, what lines) {
	r := record{now.UnixNano(), what}
	if len(l.ring) < kept {
		l.ring = append(l.ring, r)
		return
	}
	l.ring[l.next] = r
	l.next = (l.next + 1) % kept
}

// Log returns what is kept of the node's ipamd.log: lines of JSON as upstream's
// logger writes them, oldest first.
func (n *Node) Log() []byte {
	w := &writer{least: n.level()}
	for i := range n.log.ring {
		r := n.log.ring[(n.log.next+i)%len(n.log.ring)]
		w.at = time.Unix(0, r.at).UTC().Format("2006-01-02T15:04:05.000Z0700")
		r.what.write(w)
	}
	return w.buf.Bytes()
}

// writer makes lines of records.
type writer struct {
	buf   bytes.Buffer
	least level
	at    string
}

func (w *writer) line(l level, caller, format string, args ...any) {
	if l < w.least {
		return
	}
	fmt.Fprintf(&w.buf, `{"level":%q,"ts":%q,"caller":%q,"msg":`, levelNames[l], w.at, caller)
	e := json.NewEncoder(&w.buf)
	e.SetEscapeHTML(false)                     // nor does upstream's
	_ = e.Encode(fmt.Sprintf(format, args...)) // a string always can be
	w.buf.Truncate(w.buf.Len() - 1)
	w.buf.WriteString("}\n")
}

// message is a line.
type message struct {
	level        level
	caller, text string
}

func (m *message) write(w *writer) { w.line(m.level, m.caller, "%s", m.text) }

// additions is what is written when an interface has got addresses or prefixes.
type additions struct {
	eni    string
	blocks []netip.Prefix
}

func (a *additions) write(w *writer) {
	for _, b := range a.blocks {
		w.line(levelInfo, dataStore, "Adding %s to DS for %s", b, a.eni)
		w.line(levelInfo, dataStore, "Added ENI(%s)'s IP/Prefix %s to datastore", a.eni, b)
	}
}

// assignment is what is written when a pod gets an address.
type assignment struct {
	pod, namespace, name string
	ip                   netip.Addr
	device               int
	total, assigned      int
}

func (a *assignment) write(w *writer) {
	family, v4, v6 := 4, a.ip.String(), ""
	if a.ip.Is6() {
		family, v4, v6 = 6, "", v4
	}
	w.line(levelDebug, dataStore, "AssignPodIPv%dAddress: IP address pool stats: total %d, assigned %d", family, a.total, a.assigned)
	w.line(levelInfo, dataStore, "assignPodIPAddressUnsafe: Assign IP %v to sandbox aws-cni/%s/eth0 with metadata {K8SPodNamespace:%s K8SPodName:%s InterfacesCount:1}",
		a.ip, a.pod, a.namespace, a.name)
	w.line(levelInfo, rpc, "Assigned IP from network card: 0 -> IPv4: %s, IPv6: %s, device number: %d, ", v4, v6, a.device)
}

// release is what is written when a pod's address comes back.
type release struct {
	assignment
	cooldown time.Duration
}

func (r *release) write(w *writer) {
	w.line(levelDebug, dataStore, "UnassignPodIPAddress: IP address pool stats: total %d, assigned %d, sandbox aws-cni/%s/eth0", r.total, r.assigned, r.pod)
	w.line(levelDebug, dataStore, "IP %s entering cooldown period of %v", r.ip, r.cooldown)
	w.line(levelInfo, dataStore, "UnassignPodIPAddress: sandbox aws-cni/%s/eth0's ipAddr %s, DeviceNumber %d", r.pod, r.ip, r.device)
}

func (n *Node) level() level { return levelOf(n.config.LogLevel) }

func (n *Node) say(now time.Time, l level, caller, format string, args ...any) {
	if l < n.level() {
		return
	}
	text := fmt.Sprintf(format, args...)
	// The monitor says the same again and again: keep one text.
	for i := 1; i <= 8 && i <= len(n.log.ring); i++ {
		j := (n.log.next - i + len(n.log.ring)) % len(n.log.ring)
		if m, ok := n.log.ring[j].what.(*message); ok && m.text == text && m.caller == caller && m.level == l {
			n.log.add(now, m)
			return
		}
	}
	n.log.add(now, &message{l, caller, text})
}

func (n *Node) debug(now time.Time, caller, format string, args ...any) {
	n.say(now, levelDebug, caller, format, args...)
}

func (n *Node) info(now time.Time, caller, format string, args ...any) {
	n.say(now, levelInfo, caller, format, args...)
}

func (n *Node) warn(now time.Time, caller, format string, args ...any) {
	n.say(now, levelWarn, caller, format, args...)
}

func (n *Node) error(now time.Time, caller, format string, args ...any) {
	n.say(now, levelError, caller, format, args...)
}
