// Package warmpool is the decisions of ipamd, the address daemon of the VPC CNI,
// for one node: a pure state machine. It knows neither EC2 nor a clock nor
// goroutines: whoever drives it passes the time, carries out the actions that it
// asks for and tells it what came of them.
//
// Source of the rules: amazon-vpc-cni-k8s v1.23.1, pkg/ipamd/ipamd.go and
// pkg/ipamd/datastore/data_store.go, which the comments call upstream.
package warmpool
