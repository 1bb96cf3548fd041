//go:build !linux

package watcher

import "errors"

const canExchange = false

func exchange(string, string) error { return errors.ErrUnsupported }
