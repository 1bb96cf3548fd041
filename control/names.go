package control

import (
	"encoding/json"
	"unicode/utf8"
)

// A file name on unix is bytes without a rule; a JSON string is Unicode, and encoding/json silently replaces
// what is not. The types whose paths a user hands back to a command therefore carry the true bytes beside the
// readable form, but only where the two differ.

// trueBytes returns path when JSON cannot carry it, else nil.
func trueBytes(path string) []byte {
	if utf8.ValidString(path) {
		return nil
	}
	return []byte(path)
}

// restoreBytes overwrites *path with what trueBytes kept of it.
func restoreBytes(path *string, kept []byte) {
	if len(kept) > 0 {
		*path = string(kept)
	}
}

// MarshalJSON adds "path_base64" to a path that is not UTF-8.
func (h Held) MarshalJSON() ([]byte, error) {
	type plain Held
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
	}{plain(h), trueBytes(h.Path)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Held) UnmarshalJSON(data []byte) error {
	type plain Held
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
	}{plain: (*plain)(h)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&h.Path, v.PathBytes)
	return nil
}

// MarshalJSON adds "path_base64" to a path that is not UTF-8.
func (p Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
	}{plain(p), trueBytes(p.Path)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Problem) UnmarshalJSON(data []byte) error {
	type plain Problem
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
	}{plain: (*plain)(p)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&p.Path, v.PathBytes)
	return nil
}

// MarshalJSON adds "path_base64" to a path that is not UTF-8.
func (u Untaken) MarshalJSON() ([]byte, error) {
	type plain Untaken
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
	}{plain(u), trueBytes(u.Path)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (u *Untaken) UnmarshalJSON(data []byte) error {
	type plain Untaken
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
	}{plain: (*plain)(u)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&u.Path, v.PathBytes)
	return nil
}

// MarshalJSON adds "pattern_base64" to a pattern that is not UTF-8.
func (p Pattern) MarshalJSON() ([]byte, error) {
	type plain Pattern
	return json.Marshal(struct {
		plain
		PatternBytes []byte `json:"pattern_base64,omitempty"`
	}{plain(p), trueBytes(p.Pattern)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Pattern) UnmarshalJSON(data []byte) error {
	type plain Pattern
	v := struct {
		*plain
		PatternBytes []byte `json:"pattern_base64"`
	}{plain: (*plain)(p)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&p.Pattern, v.PatternBytes)
	return nil
}

// MarshalJSON adds "path_base64" and "file_base64" to paths that are not UTF-8.
func (k Kept) MarshalJSON() ([]byte, error) {
	type plain Kept
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
		FileBytes []byte `json:"file_base64,omitempty"`
	}{plain(k), trueBytes(k.Path), trueBytes(k.File)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (k *Kept) UnmarshalJSON(data []byte) error {
	type plain Kept
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
		FileBytes []byte `json:"file_base64"`
	}{plain: (*plain)(k)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&k.Path, v.PathBytes)
	restoreBytes(&k.File, v.FileBytes)
	return nil
}

// MarshalJSON adds "path_base64" to a path that is not UTF-8.
func (e TreeEntry) MarshalJSON() ([]byte, error) {
	type plain TreeEntry
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
	}{plain(e), trueBytes(e.Path)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *TreeEntry) UnmarshalJSON(data []byte) error {
	type plain TreeEntry
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
	}{plain: (*plain)(e)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&e.Path, v.PathBytes)
	return nil
}

// MarshalJSON adds "path_base64" to a path that is not UTF-8.
func (w Why) MarshalJSON() ([]byte, error) {
	type plain Why
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
	}{plain(w), trueBytes(w.Path)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (w *Why) UnmarshalJSON(data []byte) error {
	type plain Why
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
	}{plain: (*plain)(w)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&w.Path, v.PathBytes)
	return nil
}

// MarshalJSON adds "path_base64" to a path that is not UTF-8.
func (d Difference) MarshalJSON() ([]byte, error) {
	type plain Difference
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
	}{plain(d), trueBytes(d.Path)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Difference) UnmarshalJSON(data []byte) error {
	type plain Difference
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
	}{plain: (*plain)(d)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&d.Path, v.PathBytes)
	return nil
}

// MarshalJSON adds "path_base64" to a path that is not UTF-8.
func (c Conflict) MarshalJSON() ([]byte, error) {
	type plain Conflict
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
	}{plain(c), trueBytes(c.Path)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Conflict) UnmarshalJSON(data []byte) error {
	type plain Conflict
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&c.Path, v.PathBytes)
	return nil
}

// MarshalJSON adds "path_base64" to a path that is not UTF-8.
func (c ConflictVersion) MarshalJSON() ([]byte, error) {
	type plain ConflictVersion
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
	}{plain(c), trueBytes(c.Path)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *ConflictVersion) UnmarshalJSON(data []byte) error {
	type plain ConflictVersion
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&c.Path, v.PathBytes)
	return nil
}

// MarshalJSON adds "path_base64" to a path that is not UTF-8.
func (r Resolved) MarshalJSON() ([]byte, error) {
	type plain Resolved
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
	}{plain(r), trueBytes(r.Path)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Resolved) UnmarshalJSON(data []byte) error {
	type plain Resolved
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&r.Path, v.PathBytes)
	return nil
}

// MarshalJSON adds "path_base64" and "now_base64" to paths that are not UTF-8.
func (r ResolvedCopy) MarshalJSON() ([]byte, error) {
	type plain ResolvedCopy
	return json.Marshal(struct {
		plain
		PathBytes []byte `json:"path_base64,omitempty"`
		NowBytes  []byte `json:"now_base64,omitempty"`
	}{plain(r), trueBytes(r.Path), trueBytes(r.Now)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *ResolvedCopy) UnmarshalJSON(data []byte) error {
	type plain ResolvedCopy
	v := struct {
		*plain
		PathBytes []byte `json:"path_base64"`
		NowBytes  []byte `json:"now_base64"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	restoreBytes(&r.Path, v.PathBytes)
	restoreBytes(&r.Now, v.NowBytes)
	return nil
}

// MarshalJSON adds "path_base64", "from_base64", "copy_base64" and "name_base64" to what is not UTF-8.
func (e Event) MarshalJSON() ([]byte, error) { return json.Marshal(eventJSONOf(e)) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Event) UnmarshalJSON(data []byte) error {
	var v eventJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*e = v.event()
	return nil
}

// plainEvent is an Event without its methods.
type plainEvent Event

// eventJSON is an event as JSON has it.
type eventJSON struct {
	plainEvent
	PathBytes []byte `json:"path_base64,omitempty"`
	FromBytes []byte `json:"from_base64,omitempty"`
	CopyBytes []byte `json:"copy_base64,omitempty"`
	NameBytes []byte `json:"name_base64,omitempty"`
}

func eventJSONOf(e Event) eventJSON {
	return eventJSON{plainEvent(e), trueBytes(e.Path), trueBytes(e.From), trueBytes(e.Copy), trueBytes(e.Name)}
}

func (v eventJSON) event() Event {
	restoreBytes(&v.Path, v.PathBytes)
	restoreBytes(&v.From, v.FromBytes)
	restoreBytes(&v.Copy, v.CopyBytes)
	restoreBytes(&v.Name, v.NameBytes)
	return Event(v.plainEvent)
}

// MarshalJSON adds the number and the hash to the event.
func (a Audited) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Number uint64 `json:"number"`
		eventJSON
		Chain  string `json:"chain"`
		Broken bool   `json:"broken,omitempty"`
	}{a.Number, eventJSONOf(a.Event), a.Chain, a.Broken})
}

// MarshalJSON adds "resource_base64" to a resource whose path is not UTF-8.
func (l Lock) MarshalJSON() ([]byte, error) {
	type plain Lock
	return json.Marshal(struct {
		plain
		ResourceBytes []byte `json:"resource_base64,omitempty"`
	}{plain(l), trueBytes(l.Resource.String())})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *Lock) UnmarshalJSON(data []byte) error {
	type plain Lock
	v := struct {
		*plain
		ResourceBytes []byte `json:"resource_base64"`
	}{plain: (*plain)(l)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	if len(v.ResourceBytes) > 0 {
		return l.Resource.UnmarshalText(v.ResourceBytes)
	}
	return nil
}
