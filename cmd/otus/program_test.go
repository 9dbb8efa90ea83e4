package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/otus-project/otus/simulate/wire"
)

// runAsProgram makes the test binary behave as otus: tests start, kill and restart it without building another.
const runAsProgram = "OTUS_TEST_RUN_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(runAsProgram) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, environment{in: os.Stdin, out: os.Stdout, err: os.Stderr, now: time.Now}, os.Args[1:]))
}

// process is a running otus.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	mu     sync.Mutex
	lines  []string
	ready  chan struct{}
	exited chan struct{}
	err    error
}

// start runs otus with those arguments.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), ready: make(chan struct{}), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), runAsProgram+"=1")
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		in := bufio.NewScanner(out)
		announced := false
		for in.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, in.Text())
			p.mu.Unlock()
			if strings.Contains(in.Text(), "sign in") && !announced {
				announced = true
				close(p.ready)
			}
		}
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// waitReady waits until the pages are announced.
func (p *process) waitReady() {
	p.t.Helper()
	select {
	case <-p.ready:
	case <-p.exited:
		p.t.Fatalf("otus ended before it was ready: %v\n%s", p.err, p.output())
	case <-time.After(60 * time.Second):
		p.t.Fatalf("otus is not ready after a minute\n%s", p.output())
	}
}

// wait waits for the program's own end and demands success.
func (p *process) wait() {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(2 * time.Minute):
		p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines say where it hangs
		<-p.exited
		p.t.Fatalf("otus does not end\n%s", p.output())
	}
	if p.err != nil {
		p.t.Fatalf("otus: %v\n%s", p.err, p.output())
	}
}

// stop ends the program in order.
func (p *process) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.wait()
}

// kill ends it as a power cut would.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

var pagesLine = regexp.MustCompile(`pages\s+(http://\S+)`)

func (p *process) url() string {
	p.t.Helper()
	p.waitReady()
	m := pagesLine.FindStringSubmatch(p.output())
	if m == nil {
		p.t.Fatalf("no address of the pages in\n%s", p.output())
	}
	return m[1]
}

// client gives a client with the token in that file.
func (p *process) client(tokenFile string) *client {
	p.t.Helper()
	base := p.url()
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		p.t.Fatal(err)
	}
	return &client{http: http.DefaultClient, base: base, token: strings.TrimSpace(string(token))}
}

// table is an answer in the Log Analytics shape.
type table struct {
	Columns []struct{ Name, Type string }
	Rows    [][]any
}

// query asks over the Log Analytics interface.
func (c *client) query(ctx context.Context, text string) (*table, error) {
	var out struct{ Tables []table }
	if err := c.call(ctx, "POST", "/v1/workspaces/default/query", map[string]string{"query": text}, &out); err != nil {
		return nil, err
	}
	if len(out.Tables) != 1 {
		return nil, fmt.Errorf("%d tables, want 1", len(out.Tables))
	}
	return &out.Tables[0], nil
}

func (t *table) column(name string) []any {
	for i, c := range t.Columns {
		if c.Name == name {
			var out []any
			for _, r := range t.Rows {
				out = append(out, r[i])
			}
			return out
		}
	}
	return nil
}

// eventually repeats check until it gives no error, for at most a minute.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// exceptions writes a capture in which each of n clients, one after the other, is refused by one controller: n alerts,
// none of which comes again.
func exceptions(t testing.TB, n int, every time.Duration) string {
	t.Helper()
	r := wire.NewRecorder(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	server := wire.NewHost("10.30.0.1", "00:80:f4:30:00:01")
	begin := r.Now
	for i := range n {
		r.Now = begin.Add(time.Duration(i) * every)
		c := r.Dial(wire.NewHost(fmt.Sprintf("10.30.%d.%d", 1+i/200, 1+i%200), ""), server, 502)
		c.Exchange([]byte{0, 1, 0, 0, 0, 6, 1, 3, 0x23, 0x28, 0, 10}, []byte{0, 1, 0, 0, 0, 3, 1, 0x83, 2})
		c.Close()
	}
	path := filepath.Join(t.TempDir(), "exceptions.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := r.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	return path
}

// otus runs a command in this process and gives what it prints.
func otus(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), environment{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now}, args)
	return out.String(), errs.String(), code
}

func decode(t testing.TB, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in\n%.2000s", err, text)
	}
}
