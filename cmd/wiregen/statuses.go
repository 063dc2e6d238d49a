package main

// statuses are the HTTP statuses of modelled errors that are not 400, by the
// error's Go type, of services whose modules carry no schemas. The SDK's
// deserializers look only at the code, so those modules do not say; these are
// from the services' published API models.
var statuses = map[string]map[string]int{
	"eksauth": {
		"InternalServerException":     500,
		"ResourceNotFoundException":   404,
		"ServiceUnavailableException": 503,
		"ThrottlingException":         429,
	},
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
