variable "name" {
  description = "Prefix of names: the cluster's name."
  type        = string
}

variable "cidr" {
  description = "Address range of the VPC, a /16 to /20; each zone gets a sixteenth of it."
  type        = string
}

variable "zones" {
  description = "Availability zones, one private subnet in each; the head stands in the first."
  type        = list(string)
}

variable "endpoint_zones" {
  description = "In how many of the zones interface endpoints stand. Each endpoint costs by the hour in each zone; nodes of the others reach them across zones."
  type        = number
  default     = 1
}

variable "bucket_arn" {
  description = "ARN of the bucket, the only one that can be reached."
  type        = string
}

variable "key_arn" {
  description = "ARN of the KMS key that encrypts the flow logs."
  type        = string
}

variable "flow_logs" {
  description = "Whether refused connections are logged."
  type        = bool
  default     = true
}

variable "log_days" {
  description = "Days for which flow logs are kept."
  type        = number
}
