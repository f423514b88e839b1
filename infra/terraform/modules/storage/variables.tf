variable "name" {
  description = "Prefix of names: the cluster's name."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "deny_insecure_transport" {
  description = "Whether the bucket has its policy, which denies requests without TLS and PUTs with another encryption. Off only for a test against a mock cloud, which speaks HTTP."
  type        = bool
  default     = true
}

variable "completions_days" {
  description = "Days after which completions of finished runs expire."
  type        = number
}

variable "noncurrent_days" {
  description = "Days for which replaced and deleted versions of objects are kept."
  type        = number
}

variable "force_destroy" {
  description = "Whether terraform destroy may delete a bucket that holds objects."
  type        = bool
  default     = false
}
