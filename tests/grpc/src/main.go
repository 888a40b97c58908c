// SPDX-License-Identifier: Apache-2.0

// A gRPC service and its client, for stories: every answer says who served. Messages are raw bytes, so there is no .proto.
//
//	grpc serve --listen 127.0.0.1:3000 --name laptop
//	grpc call --to 10.96.0.21:80 [-H KEY=VALUE]... [-n CALLS] [-c AT-ONCE] [--messages M] [--size BYTES] KIND...
//
// KIND: unary, client-stream, server-stream, bidi. A line for each that served or failed, by kind: "unary laptop 1000".
// Exit 1 if a call failed; what was wrong goes to stderr, the first ten. --keep: one connection each for those at once, else one for all.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

type raw struct{}

func (raw) Name() string                  { return "raw" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

// The server. Each message of an answer is "NAME " and bytes that tell what came: the message itself, or how many bytes and messages.

type server struct{ name string }

func (s *server) answer(body string) *[]byte {
	b := []byte(s.name + " " + body)
	return &b
}

func unary(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in []byte
	if err := decode(&in); err != nil {
		return nil, err
	}
	s := srv.(*server)
	_ = grpc.SetTrailer(ctx, metadata.Pairs("served-by", s.name))
	return s.answer(string(in)), nil
}

func clientStream(srv any, stream grpc.ServerStream) error {
	n, size := 0, 0
	for {
		var in []byte
		err := stream.RecvMsg(&in)
		if errors.Is(err, io.EOF) {
			s := srv.(*server)
			stream.SetTrailer(metadata.Pairs("served-by", s.name))
			return stream.SendMsg(s.answer(fmt.Sprint(n, size)))
		}
		if err != nil {
			return err
		}
		n++
		size += len(in)
	}
}

// The request says how many messages of which size.
func serverStream(srv any, stream grpc.ServerStream) error {
	var in []byte
	var n, size int
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	if _, err := fmt.Sscan(string(in), &n, &size); err != nil {
		return err
	}
	s := srv.(*server)
	stream.SetTrailer(metadata.Pairs("served-by", s.name))
	for range n {
		if err := stream.SendMsg(s.answer(strings.Repeat("x", size))); err != nil {
			return err
		}
	}
	return nil
}

func bidi(srv any, stream grpc.ServerStream) error {
	s := srv.(*server)
	stream.SetTrailer(metadata.Pairs("served-by", s.name))
	for {
		var in []byte
		err := stream.RecvMsg(&in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.SendMsg(s.answer(string(in)))
		}
		if err != nil {
			return err
		}
	}
}

var service = grpc.ServiceDesc{
	ServiceName: "culvert.Test",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "unary", Handler: unary}},
	Streams: []grpc.StreamDesc{
		{StreamName: "client-stream", Handler: clientStream, ClientStreams: true},
		{StreamName: "server-stream", Handler: serverStream, ServerStreams: true},
		{StreamName: "bidi", Handler: bidi, ClientStreams: true, ServerStreams: true},
	},
}

func serve(args []string) error {
	f := flag.NewFlagSet("serve", flag.ExitOnError)
	listen := f.String("listen", "127.0.0.1:0", "address and port")
	name := f.String("name", "server", "what answers say")
	_ = f.Parse(args)

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	g := grpc.NewServer(grpc.ForceServerCodec(raw{}))
	g.RegisterService(&service, &server{*name})
	fmt.Printf("listening on %s\n", l.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		g.GracefulStop()
	}()
	return g.Serve(l)
}

// The client.

type caller struct {
	messages, size int
	timeout        time.Duration
	header         metadata.MD
}

// Who answered: the first word; the rest must be what it should be.
func check(out []byte, want string) (string, error) {
	name, body, found := strings.Cut(string(out), " ")
	if !found || body != want {
		return "", fmt.Errorf("an answer of %d bytes is not what was to come", len(out))
	}
	return name, nil
}

// All messages of a stream, and its trailers, must be of one.
func same(was, now string) (string, error) {
	if was != "" && was != now {
		return "", fmt.Errorf("one stream, two servers: %s and %s", was, now)
	}
	return now, nil
}

func (c *caller) unary(ctx context.Context, conn *grpc.ClientConn) (string, error) {
	var out []byte
	var trailer metadata.MD
	in := bytes.Repeat([]byte("u"), c.size)
	if err := conn.Invoke(ctx, "/culvert.Test/unary", &in, &out, grpc.Trailer(&trailer)); err != nil {
		return "", err
	}
	name, err := check(out, string(in))
	if err == nil {
		name, err = same(name, strings.Join(trailer["served-by"], ","))
	}
	return name, err
}

func (c *caller) stream(ctx context.Context, conn *grpc.ClientConn, kind string) (string, error) {
	desc := &grpc.StreamDesc{ClientStreams: kind != "server-stream", ServerStreams: kind != "client-stream"}
	s, err := conn.NewStream(ctx, desc, "/culvert.Test/"+kind)
	if err != nil {
		return "", err
	}
	in := bytes.Repeat([]byte("s"), c.size)
	want, answers, name := string(in), 0, ""
	receive := func() error {
		var out []byte
		err := s.RecvMsg(&out)
		if err != nil {
			return err
		}
		answers++
		now, err := check(out, want)
		if err == nil {
			name, err = same(name, now)
		}
		return err
	}
	switch kind {
	case "server-stream":
		in, want = fmt.Appendf(nil, "%d %d", c.messages, c.size), strings.Repeat("x", c.size)
		err = s.SendMsg(&in)
	case "client-stream":
		want = fmt.Sprint(c.messages, c.messages*c.size)
		for i := 0; i < c.messages && err == nil; i++ {
			err = s.SendMsg(&in)
		}
	case "bidi": // turn by turn: neither side may wait for the other's end
		for i := 0; i < c.messages && err == nil; i++ {
			if err = s.SendMsg(&in); err == nil {
				err = receive()
			}
		}
	}
	if err != nil && !errors.Is(err, io.EOF) { // EOF: RecvMsg knows why
		return "", err
	}
	if err = s.CloseSend(); err != nil {
		return "", err
	}
	for err == nil {
		err = receive()
	}
	if !errors.Is(err, io.EOF) {
		return "", err
	}
	expected := c.messages
	if kind == "client-stream" {
		expected = 1
	}
	if answers != expected {
		return "", fmt.Errorf("%d messages in place of %d", answers, expected)
	}
	return same(name, strings.Join(s.Trailer()["served-by"], ","))
}

func (c *caller) once(conn *grpc.ClientConn, kind string) (string, error) {
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), c.header), c.timeout)
	defer cancel()
	if kind == "unary" {
		return c.unary(ctx, conn)
	}
	return c.stream(ctx, conn, kind)
}

type headers metadata.MD

func (h headers) String() string { return "" }
func (h headers) Set(s string) error {
	key, value, found := strings.Cut(s, "=")
	if !found {
		return errors.New("KEY=VALUE is wanted")
	}
	metadata.MD(h).Append(key, value)
	return nil
}

func call(args []string) error {
	c := caller{header: metadata.MD{}}
	f := flag.NewFlagSet("call", flag.ExitOnError)
	to := f.String("to", "", "address and port")
	n := f.Int("n", 1, "calls of each kind")
	at := f.Int("c", 1, "at once")
	keep := f.Bool("keep", false, "a connection for each of those at once")
	f.IntVar(&c.messages, "messages", 5, "of a stream")
	f.IntVar(&c.size, "size", 100, "bytes of a message")
	f.DurationVar(&c.timeout, "timeout", 30*time.Second, "of a call")
	f.Var(headers(c.header), "H", "KEY=VALUE, metadata")
	_ = f.Parse(args)

	conns := make([]*grpc.ClientConn, 1)
	if *keep {
		conns = make([]*grpc.ClientConn, *at)
	}
	for i := range conns {
		conn, err := grpc.NewClient("passthrough:///"+*to, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(64<<20)), grpc.WithNoProxy())
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[i] = conn
	}

	var lock sync.Mutex
	var wait sync.WaitGroup
	var next, failed atomic.Int64
	counts := map[string]int{}
	kinds := f.Args()
	for w := range *at {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= *n*len(kinds) {
					return
				}
				kind := kinds[i%len(kinds)]
				name, err := c.once(conns[w%len(conns)], kind)
				if err != nil {
					name = "FAILED"
					if failed.Add(1) <= 10 {
						fmt.Fprintf(os.Stderr, "%s: %v\n", kind, err)
					}
				}
				lock.Lock()
				counts[kind+" "+name]++
				lock.Unlock()
			}
		})
	}
	wait.Wait()
	lines := make([]string, 0, len(counts))
	for k, v := range counts {
		lines = append(lines, fmt.Sprintf("%s %d", k, v))
	}
	sort.Strings(lines)
	fmt.Println(strings.Join(lines, "\n"))
	if failed.Load() > 0 {
		return fmt.Errorf("%d calls failed", failed.Load())
	}
	return nil
}

func main() {
	commands := map[string]func([]string) error{"serve": serve, "call": call}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: grpc serve|call ...")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
