variable "name" {
  description = "Name of the application: the cluster's name."
  type        = string
}

variable "release_label" {
  description = "Release of EMR, such as emr-7.12.0; its Spark line has to be the one of the packed environment's pyspark."
  type        = string
}

variable "idle_minutes" {
  description = "Minutes without a job after which the application stops."
  type        = number
}

variable "maximum" {
  description = "What all jobs together may take."
  type        = object({ vcpu = number, memory_gb = number, disk_gb = number })
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group of drivers and executors."
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

variable "graph_source" {
  description = "URI of PrimeKG's kg.csv."
  type        = string
}

variable "graph_uri" {
  description = "URI of the graph's folder."
  type        = string
}

variable "config" {
  description = "The project's configuration file, a path inside the project's archive."
  type        = string
}
