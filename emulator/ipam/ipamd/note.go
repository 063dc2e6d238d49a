package ipamd

// Note writes a line of the node's ipamd.log about what is decided elsewhere: whether
// to ask for a trunk interface.
func (p *Pools) Note(instanceID, level, format string, args ...any) {
	if n := p.known(instanceID); n != nil {
		n.say(p.cfg.Clock.Now(), level, format, args...)
	}
}
