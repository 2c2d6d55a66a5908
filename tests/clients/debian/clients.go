// Clients in Go: PROGRAM NAME URL TYPE..., or PROGRAM NAME --version, or PROGRAM --list.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"

	"github.com/donovanhide/eventsource"
)

type event struct {
	Type        string `json:"type"`
	Data        string `json:"data"`
	LastEventID string `json:"lastEventId"`
}

func show(e eventsource.Event) {
	kind := e.Event()
	if kind == "" {
		kind = "message"
	}
	lines := json.NewEncoder(os.Stdout)
	lines.SetEscapeHTML(false)
	lines.Encode(event{kind, e.Data(), e.Id()})
}

// It reconnects by itself, but not if the first request fails.
func donovanhide(url string) error {
	stream, err := eventsource.Subscribe(url, "")
	if err != nil {
		return err
	}
	for {
		select {
		case e := <-stream.Events:
			show(e)
		case err := <-stream.Errors:
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

func netHTTP(url string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	body := bufio.NewReader(response.Body)
	for {
		line, err := body.ReadString('\n')
		os.Stdout.WriteString(line)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func version(name string) string {
	if name == "go-nethttp" {
		return "net/http, " + runtime.Version()
	}
	of := "golang-github-donovanhide-eventsource-dev"
	number, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", of).Output()
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%s %s, %s", of, number, runtime.Version())
}

func main() {
	if os.Args[1] == "--list" {
		fmt.Println("go-donovanhide\ngo-nethttp")
		return
	}
	if os.Args[2] == "--version" {
		fmt.Println(version(os.Args[1]))
		return
	}
	http.DefaultTransport.(*http.Transport).Proxy = nil
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	clients := map[string]func(string) error{"go-donovanhide": donovanhide, "go-nethttp": netHTTP}
	if err := clients[os.Args[1]](os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "end")
}
