variable "name" { type = string }
variable "kubernetes_version" { type = string }
variable "vpc_id" { type = string }
variable "subnet_ids" { type = list(string) }
variable "control_plane_subnet_ids" { type = list(string) }
variable "node_groups" { type = any }
variable "tags" { type = map(string) }

variable "addons" {
  type = map(object({
    before_compute       = optional(bool, false)
    most_recent          = optional(bool, false)
    configuration_values = optional(string)
  }))
}

variable "access_entries" {
  type    = any
  default = {}
}
