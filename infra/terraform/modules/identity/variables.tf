variable "name" {
  description = "The cluster's name: prefix of names, and the value of the tag ray-cluster-name."
  type        = string
}

variable "bucket_arn" {
  description = "ARN of the bucket."
  type        = string
}

variable "prefixes" {
  description = "What lies where in the bucket, from modules/storage."
  type        = map(string)
}

variable "key_arn" {
  description = "ARN of the bucket's KMS key."
  type        = string
}

variable "secret_parameters" {
  description = "Names of SSM parameters that nodes may read."
  type        = list(string)
}

variable "image_id" {
  description = "AMI of the workers."
  type        = string
}

variable "instance_types" {
  description = "Instance types that the head may start."
  type        = list(string)
}

variable "launch_template_arns" {
  description = "Launch templates that the head may start workers from."
  type        = list(string)
}

variable "subnet_arns" {
  description = "Subnets that the head may start workers in."
  type        = list(string)
}

variable "security_group_arn" {
  description = "Security group of the nodes."
  type        = string
}

variable "head_instance_arn" {
  description = "ARN of the head's instance."
  type        = string
}

variable "job_document_arn" {
  description = "ARN of the SSM document by which jobs are submitted, watched and stopped."
  type        = string
}

variable "spark_application_arn" {
  description = "ARN of the EMR Serverless application."
  type        = string
}

variable "topic_arn" {
  description = "ARN of the topic for alerts."
  type        = string
}

variable "source_key" {
  description = "Key of the graph's source in the bucket."
  type        = string
}

variable "state_machine_arn" {
  description = "ARN of the state machine, which the scheduler starts."
  type        = string
}
