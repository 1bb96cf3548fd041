package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Syncthing's configuration is what it makes itself, with these changes: the sides know each other's address and ask nobody else,
// and changes are looked at after 1 s instead of 10. What is left out of a folder's part counts as zero, not as its default, so
// the folder is made of the template for new ones.
var (
	ownDevice      = regexp.MustCompile(`(?s)<device id="([A-Z2-7-]+)" name=.*?</device>`)
	folderTemplate = regexp.MustCompile(`(?s)<folder id="".*?</folder>`)
	folderHead     = regexp.MustCompile(`id="" (.*?)path="[^"]*"(.*?)fsWatcherDelayS="\d+"([^>]*>)`)
)

var syncthingOptions = map[string]string{
	"globalAnnounceEnabled": "false", "localAnnounceEnabled": "false", "relaysEnabled": "false", "natEnabled": "false",
	"stunKeepaliveStartS": "0", "urAccepted": "-1", "crashReportingEnabled": "false", "startBrowser": "false",
	"autoUpgradeIntervalH": "0", "setLowPriority": "false", "reconnectionIntervalS": "5",
}

func prepareSyncthing(ctx context.Context, p *pair) error {
	p.crew.env = append(p.crew.env, "STNOUPGRADE=1", "STNODEFAULTFOLDER=1")
	sides := []string{p.state("near", "config.xml"), p.state("far", "config.xml")}
	var texts, devices, ids []string
	for i, config := range sides {
		if err := p.crew.call(ctx, "syncthing", "generate", "--home="+filepath.Dir(config)); err != nil {
			return err
		}
		text, err := os.ReadFile(config)
		device := ownDevice.FindStringSubmatch(string(text))
		if err != nil || device == nil {
			return cmp.Or(err, fmt.Errorf("no device in %s", config))
		}
		address := fmt.Sprintf("<address>tcp://127.0.0.1:%d</address>", p.ports[i])
		devices = append(devices, strings.Replace(device[0], "<address>dynamic</address>", address, 1))
		texts, ids = append(texts, string(text)), append(ids, fmt.Sprintf(`<device id="%s"/>`, device[1]))
	}
	for i, dir := range []string{p.a, p.b} {
		if err := os.Mkdir(filepath.Join(dir, ".stfolder"), 0o700); err != nil { // without it, the folder counts as lost
			return err
		}
		text, err := configured(texts[i], dir, strings.Join(ids, ""), strings.Join(devices, ""), p.ports[i])
		if err != nil {
			return fmt.Errorf("change %s: %w", sides[i], err)
		}
		if err := os.WriteFile(sides[i], []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// configured makes the changes in the text of a configuration.
func configured(text, dir, ids, devices string, port int) (string, error) {
	folder := folderTemplate.FindString(text)
	if !folderHead.MatchString(folder) {
		return "", errors.New("it has no template for folders that is known here")
	}
	folder = folderHead.ReplaceAllString(folder, `id="compared" ${1}path="`+dir+`"${2}fsWatcherDelayS="1"${3}`+ids)
	text = strings.Replace(text, ownDevice.FindString(text), folder+devices, 1)
	text = strings.Replace(text, `<gui enabled="true"`, `<gui enabled="false"`, 1)
	set := func(name, value string) {
		text = regexp.MustCompile("<"+name+">[^<]*</"+name+">").ReplaceAllString(text, "<"+name+">"+value+"</"+name+">")
	}
	set("listenAddress", fmt.Sprintf("tcp://127.0.0.1:%d", port))
	for name, value := range syncthingOptions {
		set(name, value)
	}
	return text, nil
}

// startSyncthing starts the far side first and waits for it to listen: a near side that finds nobody tries again only after
// seconds.
func startSyncthing(ctx context.Context, p *pair) error {
	serve := func(side string) error {
		return p.crew.spawn("syncthing", "serve", "--home="+p.state(side), "--no-browser", "--no-restart")
	}
	if err := serve("far"); err != nil {
		return err
	}
	if err := p.await(ctx, startTime, lookOften, func() bool { return listening(p.ports[1]) }); err != nil {
		return err
	}
	return serve("near")
}
