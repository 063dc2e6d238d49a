variable "name" {
  type    = string
  default = "plain"
}

variable "kubernetes_version" {
  type    = string
  default = "1.34"
}

variable "public_access_cidrs" {
  type    = list(string)
  default = ["0.0.0.0/0"]
}

variable "private_access" {
  type    = bool
  default = false
}

variable "log_types" {
  type    = list(string)
  default = ["api", "audit"]
}

variable "desired_size" {
  type    = number
  default = 2
}

variable "max_size" {
  type    = number
  default = 4
}

variable "instance_types" {
  type    = list(string)
  default = ["m5.large"]
}

variable "labels" {
  type    = map(string)
  default = { role = "general" }
}

variable "coredns_version" {
  description = "The default version of the cluster's Kubernetes version if null."
  type        = string
  default     = null
}

variable "tags" {
  type    = map(string)
  default = { team = "platform" }
}
