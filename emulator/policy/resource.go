package policy

// Resource is what the policies of others may ask about a resource, and the policies
// that it has itself.
type Resource struct {
	Tags map[string]string
	// Keys are the condition keys that the resource gives besides its tags, lower case.
	Keys map[string][]string
	// Policies are nil for a resource that has none or cannot have any.
	Policies []Policy
	// ByResource is Policies.ByResource.
	ByResource bool
}
