package main

// statuses are the HTTP statuses of query services' modelled errors that are
// not 400, by the error's Go type. The SDK's query deserializers look only at
// the code, so its modules do not say; these are from the services' published
// API models.
var statuses = map[string]map[string]int{
	"iam": {
		"ConcurrentModificationException":        409,
		"CredentialReportExpiredException":       410,
		"CredentialReportNotPresentException":    410,
		"CredentialReportNotReadyException":      404,
		"DeleteConflictException":                409,
		"DuplicateCertificateException":          409,
		"EntityAlreadyExistsException":           409,
		"EntityTemporarilyUnmodifiableException": 409,
		"FeatureDisabledException":               404,
		"FeatureEnabledException":                409,
		"InvalidAuthenticationCodeException":     403,
		"LimitExceededException":                 409,
		"NoSuchEntityException":                  404,
		"PolicyEvaluationException":              500,
		"ReportGenerationLimitExceededException": 409,
		"ServiceFailureException":                500,
		"ServiceNotSupportedException":           404,
	},
	"sts": {
		"IDPRejectedClaimException":                      403,
		"OutboundWebIdentityFederationDisabledException": 403,
		"RegionDisabledException":                        403,
		"SessionDurationEscalationException":             403,
	},
}
