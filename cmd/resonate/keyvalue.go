package main

import (
	"errors"
	"flag"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A valueKind is what a flag looks like as a key of a configuration file.
type valueKind int

const (
	kindText   valueKind = iota // in quotes; a length of time or a size may be a plain number, if it is a whole one
	kindSwitch                  // true or false
	kindNumber
	kindList // of texts in quotes, or one of them
)

// kindOf tells it by the type of the flag's value, so that a new flag is a key without more ado.
func kindOf(f *flag.Flag) valueKind {
	if isSwitch(f) {
		return kindSwitch
	}
	switch reflect.Indirect(reflect.ValueOf(f.Value)).Kind() {
	case reflect.Slice:
		return kindList
	case reflect.Int, reflect.Uint, reflect.Float64:
		return kindNumber
	}
	return kindText
}

// wanted says what a key of this kind takes.
func (k valueKind) wanted() string {
	switch k {
	case kindSwitch:
		return "want true or false, without quotes"
	case kindNumber:
		return "want a number, without quotes"
	case kindList:
		return `want a list of texts in quotes, such as ["a", "b"]`
	}
	return "want a text in quotes"
}

// flagTexts turns what TOML has read for a key into what the flag is given: one text, or several for a list.
func flagTexts(f *flag.Flag, v any) ([]string, error) {
	kind := kindOf(f)
	switch v := v.(type) {
	case string:
		if kind == kindText || kind == kindList {
			return []string{v}, nil
		}
	case bool:
		if kind == kindSwitch {
			return []string{strconv.FormatBool(v)}, nil
		}
	case int64:
		whole := reflect.Indirect(reflect.ValueOf(f.Value)).Kind() == reflect.Int64
		if kind == kindNumber || kind == kindText && whole {
			return []string{strconv.FormatInt(v, 10)}, nil
		}
	case float64:
		if kind == kindNumber {
			return []string{strconv.FormatFloat(v, 'f', -1, 64)}, nil
		}
	case []any:
		if kind == kindList {
			return textsOf(v)
		}
	}
	return nil, errors.New(kind.wanted())
}

func textsOf(list []any) ([]string, error) {
	texts := make([]string, 0, len(list))
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			return nil, errors.New(kindList.wanted())
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// literal writes the flag's value as a configuration file has it.
func literal(f *flag.Flag) (string, error) {
	switch kindOf(f) {
	case kindSwitch, kindNumber:
		return f.Value.String(), nil
	case kindList:
		var quoted []string
		for list, i := reflect.Indirect(reflect.ValueOf(f.Value)), 0; i < list.Len(); i++ {
			q, err := quotedText(fmt.Sprint(list.Index(i).Interface()))
			if err != nil {
				return "", err
			}
			quoted = append(quoted, q)
		}
		return "[" + strings.Join(quoted, ", ") + "]", nil
	}
	return quotedText(f.Value.String())
}

// quotedText writes a basic string of TOML 1.0. Bytes that are not UTF-8 cannot be written.
func quotedText(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%s is not UTF-8, and a configuration file can hold nothing else", shown(s))
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String(), nil
}
