variable "name" {
  description = "The cluster's name, which Ray's tag ray-cluster-name carries."
  type        = string
}

variable "tags" {
  description = "Tags of instances and disks, which the provider's default tags do not reach: the autoscaler starts them."
  type        = map(string)
}

variable "ray_version" {
  description = "Version of Ray that the packed environment has to have."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "prefixes" {
  description = "What lies where in the bucket, from modules/storage."
  type        = map(string)
}

variable "subnets" {
  description = "Private subnets; the head stands in the first, workers are tried in this order."
  type        = list(object({ id = string, cidr = string }))
}

variable "security_group_id" {
  description = "Security group of the nodes."
  type        = string
}

variable "head_profile" {
  description = "Instance profile of the head."
  type        = string
}

variable "worker_profile" {
  description = "Instance profile of the workers."
  type        = string
}

variable "head_image_id" {
  description = "AMI of the head, Amazon Linux 2023."
  type        = string
}

variable "worker_image_id" {
  description = "AMI of the workers, Amazon Linux 2023 with NVIDIA's driver."
  type        = string
}

variable "head_instance_type" {
  description = "Instance type of the head."
  type        = string
}

variable "head_cpus" {
  description = "CPUs of the head that Ray gives to tasks."
  type        = number
}

variable "head_disk_gb" {
  description = "Size of the head's disk."
  type        = number
}

variable "head_idle_minutes" {
  description = "Minutes without a job after which the head stops itself."
  type        = number
}

variable "workers" {
  description = "Instance types of the workers, the preferred one first: type, cpus, gpus."
  type        = list(object({ type = string, cpus = number, gpus = number }))
}

variable "markets" {
  description = "Markets to take workers from, the preferred one first: spot, on-demand."
  type        = list(string)
}

variable "max_workers" {
  description = "Workers at most, of all types together."
  type        = number
}

variable "worker_idle_minutes" {
  description = "Minutes without work after which the autoscaler ends a worker."
  type        = number
}

variable "worker_lost_minutes" {
  description = "Minutes without its head after which a worker ends itself."
  type        = number
}

variable "worker_disk_gb" {
  description = "Size of a worker's disk, for the environment and the models."
  type        = number
}

variable "models" {
  description = "Folders under models/ that a worker fetches before it starts."
  type        = list(string)
}

variable "secret_parameters" {
  description = "Environment variable of Ray → name of the SSM parameter that holds its value."
  type        = map(string)
}

variable "job_command" {
  description = "Shell command of a scheduled job, with RUN_URI and GRAPH_URI in its environment."
  type        = string
}
