variable "project" {
  description = "Tag «project» of everything."
  type        = string
  default     = "medreason-dist"
}

variable "cluster" {
  description = "Name of the cluster: the tag «cluster» of everything, Ray's tag ray-cluster-name, and the prefix of names."
  type        = string
  default     = "medreason"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.cluster))
    error_message = "cluster = \"${var.cluster}\": a name has 2 to 24 of a-z, 0-9 and -, a letter first. Choose such a name."
  }
}

variable "region" {
  description = "AWS region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[1-9]$", var.region))
    error_message = "region = \"${var.region}\": a region looks like us-east-1. `aws ec2 describe-regions` lists yours."
  }
}

variable "zones" {
  description = "Availability zones of the region, one private subnet in each. The head stands in the first; workers are tried in this order."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 1 && length(var.zones) <= 6 && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones = ${jsonencode(var.zones)}: one to six different zones are allowed. Name each once."
  }

  validation {
    condition     = alltrue([for zone in var.zones : can(regex("^${var.region}[a-z]$", zone))])
    error_message = "zones = ${jsonencode(var.zones)}: a zone of ${var.region} is ${var.region}a, ${var.region}b … `aws ec2 describe-availability-zones --region ${var.region}` lists them."
  }
}

variable "bucket" {
  description = "Name of the bucket that is made; unique among all of AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket)) && !can(regex("^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|--x-s3)$", var.bucket))
    error_message = "bucket = \"${var.bucket}\": a name has 3 to 63 of a-z, 0-9 and -, a letter or digit first and last, and none of AWS' own beginnings and ends. Choose such a name; dots are left out because they break TLS."
  }
}

variable "network_cidr" {
  description = "Address range of the VPC; each zone gets a sixteenth."
  type        = string
  default     = "10.80.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.network_cidr)) && try(tonumber(split("/", var.network_cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.network_cidr)[1]), 0) <= 20
    error_message = "network_cidr = \"${var.network_cidr}\": a range of IPv4 from /16 to /20 is allowed, such as 10.80.0.0/16. Choose one that no network you peer with uses."
  }
}

variable "endpoint_zones" {
  description = "In how many zones interface endpoints stand. Three endpoints cost by the hour in each; one zone is enough while it is up."
  type        = number
  default     = 1

  validation {
    condition     = var.endpoint_zones >= 1 && var.endpoint_zones <= length(var.zones) && floor(var.endpoint_zones) == var.endpoint_zones
    error_message = "endpoint_zones = ${var.endpoint_zones}: 1 to ${length(var.zones)}, the number of zones, is allowed. Lower it or name more zones."
  }
}

variable "flow_logs" {
  description = "Whether refused connections are logged."
  type        = bool
  default     = true
}

variable "log_days" {
  description = "Days for which logs in CloudWatch are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "log_days = ${var.log_days}: CloudWatch allows 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365 and some longer times. Choose one of them."
  }
}

variable "completions_days" {
  description = "Days after which the completions of finished runs expire. Traces stay."
  type        = number
  default     = 30

  validation {
    condition     = var.completions_days >= 1 && floor(var.completions_days) == var.completions_days
    error_message = "completions_days = ${var.completions_days}: whole days from 1 on are allowed."
  }
}

variable "noncurrent_days" {
  description = "Days for which replaced and deleted versions of objects are kept."
  type        = number
  default     = 14

  validation {
    condition     = var.noncurrent_days >= 1 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days = ${var.noncurrent_days}: whole days from 1 on are allowed."
  }
}

variable "force_destroy" {
  description = "Whether terraform destroy may delete the bucket with all that is in it."
  type        = bool
  default     = false
}

variable "deny_insecure_transport" {
  description = "Whether the bucket has its policy, which denies requests without TLS and PUTs with another encryption. Off only for a mock cloud, which speaks HTTP."
  type        = bool
  default     = true
}

variable "ray_version" {
  description = "Version of Ray in the packed environment. A node whose environment has another one does not start Ray."
  type        = string
  default     = "2.60.0"

  validation {
    condition     = can(regex("^2\\.[0-9]+\\.[0-9]+$", var.ray_version)) && try(tonumber(split(".", var.ray_version)[1]), 0) >= 48
    error_message = "ray_version = \"${var.ray_version}\": a release from 2.48.0 on is allowed, such as 2.60.0. Take the one that `pip show ray` names in the environment you pack."
  }
}

variable "head_instance_type" {
  description = "Instance type of the head: Ray's control, the job's driver, its small tasks. x86_64."
  type        = string
  default     = "m7i.xlarge"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.(metal|([0-9]+x?)?(large|medium|small|micro|nano)|xlarge|[0-9]+xlarge|metal-[0-9]+xl)$", var.head_instance_type))
    error_message = "head_instance_type = \"${var.head_instance_type}\": a type looks like m7i.xlarge. `aws ec2 describe-instance-types` lists them."
  }
}

variable "head_cpus" {
  description = "CPUs of the head that Ray gives to tasks. With 0 Ray Data's reading would start a GPU worker only to read."
  type        = number
  default     = 2

  validation {
    condition     = var.head_cpus >= 1 && floor(var.head_cpus) == var.head_cpus
    error_message = "head_cpus = ${var.head_cpus}: whole numbers from 1 on are allowed: Ray Data's own tasks need one."
  }
}

variable "head_disk_gb" {
  description = "Size of the head's disk, which is paid for while the head is stopped: the packed environment twice over."
  type        = number
  default     = 60

  validation {
    condition     = var.head_disk_gb >= 30
    error_message = "head_disk_gb = ${var.head_disk_gb}: at least 30 are needed for the system and one environment."
  }
}

variable "head_idle_minutes" {
  description = "Minutes without a job after which the head stops itself."
  type        = number
  default     = 30

  validation {
    condition     = var.head_idle_minutes >= 10
    error_message = "head_idle_minutes = ${var.head_idle_minutes}: at least 10 are needed for the head to come up and take a job."
  }
}

variable "workers" {
  description = "Instance types of GPU workers, the preferred one first: type, CPUs and GPUs as Ray counts them. x86_64."
  type        = list(object({ type = string, cpus = number, gpus = number }))
  default = [
    { type = "g6e.xlarge", cpus = 4, gpus = 1 },
    { type = "g6e.2xlarge", cpus = 8, gpus = 1 },
    { type = "g6e.12xlarge", cpus = 48, gpus = 4 },
  ]

  validation {
    condition     = length(var.workers) > 0 && length(distinct(var.workers[*].type)) == length(var.workers)
    error_message = "workers = ${jsonencode(var.workers[*].type)}: at least one type, each once, is needed."
  }

  validation {
    condition     = alltrue([for worker in var.workers : can(regex("^(g|p)[0-9][a-z0-9-]*\\.([0-9]*xlarge|metal)$", worker.type))])
    error_message = "workers = ${jsonencode(var.workers[*].type)}: GPU types look like g6e.xlarge or p4d.24xlarge. `aws ec2 describe-instance-types` lists them."
  }

  validation {
    condition     = alltrue([for worker in var.workers : worker.cpus >= 1 && worker.gpus >= 1 && floor(worker.cpus) == worker.cpus && floor(worker.gpus) == worker.gpus])
    error_message = "workers = ${jsonencode(var.workers)}: cpus and gpus are whole numbers from 1 on, as the type has them."
  }
}

variable "markets" {
  description = "Markets of the workers, the preferred one first. What cannot be had in one is asked for in the next."
  type        = list(string)
  default     = ["spot", "on-demand"]

  validation {
    condition     = length(var.markets) > 0 && length(distinct(var.markets)) == length(var.markets) && length(setsubtract(var.markets, ["spot", "on-demand"])) == 0
    error_message = "markets = ${jsonencode(var.markets)}: spot and on-demand are allowed, one of them or both, each once."
  }
}

variable "create_spot_role" {
  description = "Whether the account's service-linked role for spot is made. Only in an account that never used spot: AWS allows one."
  type        = bool
  default     = false
}

variable "max_workers" {
  description = "Workers at most, of all types together."
  type        = number
  default     = 8

  validation {
    condition     = var.max_workers >= 1 && floor(var.max_workers) == var.max_workers
    error_message = "max_workers = ${var.max_workers}: whole numbers from 1 on are allowed."
  }
}

variable "worker_idle_minutes" {
  description = "Minutes without work after which the autoscaler ends a worker."
  type        = number
  default     = 5

  validation {
    condition     = var.worker_idle_minutes >= 1
    error_message = "worker_idle_minutes = ${var.worker_idle_minutes}: at least 1 is needed."
  }
}

variable "worker_lost_minutes" {
  description = "Minutes without its head after which a worker ends itself."
  type        = number
  default     = 5

  validation {
    condition     = var.worker_lost_minutes >= 2
    error_message = "worker_lost_minutes = ${var.worker_lost_minutes}: at least 2 are needed, for a node looks once a minute."
  }
}

variable "worker_disk_gb" {
  description = "Size of a worker's disk: system, environment, models."
  type        = number
  default     = 250

  validation {
    condition     = var.worker_disk_gb >= 60
    error_message = "worker_disk_gb = ${var.worker_disk_gb}: at least 60 are needed for the system with NVIDIA's driver and one environment."
  }
}

variable "models" {
  description = "Folders under models/ in the bucket that a worker fetches to /opt/medreason/models before it starts."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for model in var.models : can(regex("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", model))])
    error_message = "models = ${jsonencode(var.models)}: names of folders such as Qwen3-32B are allowed, without a slash at the end."
  }
}

variable "head_image_id" {
  description = "AMI of the head. null for the newest Amazon Linux 2023."
  type        = string
  default     = null

  validation {
    condition     = var.head_image_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.head_image_id))
    error_message = "head_image_id = \"${coalesce(var.head_image_id, "null")}\": an image looks like ami-0123456789abcdef0. Leave it null for the newest."
  }
}

variable "worker_image_id" {
  description = "AMI of the workers. null for AWS' newest Amazon Linux 2023 with NVIDIA's driver."
  type        = string
  default     = null

  validation {
    condition     = var.worker_image_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.worker_image_id))
    error_message = "worker_image_id = \"${coalesce(var.worker_image_id, "null")}\": an image looks like ami-0123456789abcdef0. Leave it null for the newest."
  }
}

variable "secret_parameters" {
  description = "Environment variable of Ray → name of the SSM parameter that holds its value. Only the names are known here."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, parameter in var.secret_parameters : can(regex("^[A-Z][A-Z0-9_]*$", name)) && can(regex("^/?[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", parameter))])
    error_message = "secret_parameters = ${jsonencode(var.secret_parameters)}: a variable such as OPENAI_API_KEY and a parameter's name such as /medreason/openai are allowed. Put the value into the parameter, not here."
  }
}

variable "emr_release" {
  description = "Release of EMR Serverless. Its Spark has to be of the line of the packed environment's pyspark (7.x: 3.5)."
  type        = string
  default     = "emr-7.9.0"

  validation {
    condition     = can(regex("^emr-7\\.[0-9]+\\.[0-9]+$", var.emr_release))
    error_message = "emr_release = \"${var.emr_release}\": a release of EMR 7 is allowed, such as emr-7.9.0. `aws emr list-release-labels` lists them."
  }
}

variable "spark_idle_minutes" {
  description = "Minutes without a job after which the Spark application stops."
  type        = number
  default     = 5

  validation {
    condition     = var.spark_idle_minutes >= 1 && var.spark_idle_minutes <= 10080
    error_message = "spark_idle_minutes = ${var.spark_idle_minutes}: 1 to 10080 are allowed."
  }
}

variable "spark_maximum" {
  description = "What Spark may take at most."
  type        = object({ vcpu = number, memory_gb = number, disk_gb = number })
  default     = { vcpu = 32, memory_gb = 128, disk_gb = 1000 }
}

variable "spark_limit_minutes" {
  description = "Minutes after which a Spark job is cancelled."
  type        = number
  default     = 120

  validation {
    condition     = var.spark_limit_minutes >= 5 && floor(var.spark_limit_minutes) == var.spark_limit_minutes
    error_message = "spark_limit_minutes = ${var.spark_limit_minutes}: whole minutes from 5 on are allowed."
  }
}

variable "graph_source" {
  description = "Key of PrimeKG's kg.csv under source/."
  type        = string
  default     = "kg.csv"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\\.csv(\\.gz)?$", var.graph_source))
    error_message = "graph_source = \"${var.graph_source}\": the key of a .csv or .csv.gz below source/ is allowed, such as kg.csv."
  }
}

variable "graph_name" {
  description = "Folder of the graph under graph/."
  type        = string
  default     = "primekg"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+$", var.graph_name))
    error_message = "graph_name = \"${var.graph_name}\": letters, digits, dots, _ and - are allowed, such as primekg."
  }
}

variable "config" {
  description = "Configuration file of the jobs, a path in the project."
  type        = string
  default     = "configs/aws.yaml"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\\.yaml$", var.config))
    error_message = "config = \"${var.config}\": a path in the project is allowed, such as configs/aws.yaml."
  }
}

variable "run_name" {
  description = "Name of the scheduled run. Its folder is runs/<name>-<version of the graph's source>: executions resume and extend it until the source changes. Another name begins anew."
  type        = string
  default     = "scheduled"

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+$", var.run_name))
    error_message = "run_name = \"${var.run_name}\": letters, digits, dots, _ and - are allowed."
  }
}

variable "schedule_enabled" {
  description = "Whether the schedule runs. Begin with false, and start one execution by hand."
  type        = bool
  default     = false
}

variable "schedule" {
  description = "When: cron(…), rate(…) or at(…) of EventBridge Scheduler."
  type        = string
  default     = "cron(0 3 ? * SAT *)"

  validation {
    condition = anytrue([
      can(regex("^cron\\([^ ()]+( [^ ()]+){5}\\)$", var.schedule)),
      can(regex("^rate\\([1-9][0-9]* (minute|hour|day)s?\\)$", var.schedule)),
      can(regex("^at\\([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\)$", var.schedule)),
    ])
    error_message = "schedule = \"${var.schedule}\": cron(0 3 ? * SAT *) with six fields, rate(7 days) or at(2030-01-31T03:00:00) are allowed."
  }
}

variable "timezone" {
  description = "Time zone of the schedule, a name of the IANA database."
  type        = string
  default     = "UTC"

  validation {
    condition     = can(regex("^(UTC|GMT|[A-Z][A-Za-z]+(/[A-Z][A-Za-z0-9_+-]+){1,2})$", var.timezone))
    error_message = "timezone = \"${var.timezone}\": a name such as UTC or Europe/Berlin is allowed, no abbreviation and no offset."
  }
}

variable "schedule_window_minutes" {
  description = "Minutes within which an execution may start; 0 for at once."
  type        = number
  default     = 15

  validation {
    condition     = var.schedule_window_minutes >= 0 && var.schedule_window_minutes <= 1440
    error_message = "schedule_window_minutes = ${var.schedule_window_minutes}: 0 to 1440 are allowed."
  }
}

variable "online_limit_minutes" {
  description = "Minutes that the head has to come online."
  type        = number
  default     = 10

  validation {
    condition     = var.online_limit_minutes >= 2 && var.online_limit_minutes <= 60
    error_message = "online_limit_minutes = ${var.online_limit_minutes}: 2 to 60 are allowed."
  }
}

variable "poll_seconds" {
  description = "Seconds between two looks at the Ray job."
  type        = number
  default     = 120

  validation {
    condition     = var.poll_seconds >= 15 && floor(var.poll_seconds) == var.poll_seconds
    error_message = "poll_seconds = ${var.poll_seconds}: whole seconds from 15 on are allowed."
  }
}

variable "run_limit_minutes" {
  description = "Minutes after which a Ray job is stopped. What it has done is kept, and the next execution goes on."
  type        = number
  default     = 1440

  # An execution ends after 25,000 events; a look at the job takes 27 (tests/infra/test_state_machine.py).
  validation {
    condition     = var.run_limit_minutes >= 10 && var.run_limit_minutes * 60 / (var.poll_seconds + 15) <= 800
    error_message = "run_limit_minutes = ${var.run_limit_minutes}: from 10 minutes up to 800 looks at the job are allowed, which are ${floor(800 * (var.poll_seconds + 15) / 60)} minutes at poll_seconds = ${var.poll_seconds}. Lower it, or raise poll_seconds."
  }
}

variable "job_command" {
  description = "Shell command of a scheduled job, in the project's folder, with RUN_URI and GRAPH_URI in its environment. null for embed_entities, then generate."
  type        = string
  default     = null
}

variable "alert_emails" {
  description = "Addresses that failures and the budget's notices go to. Each has to confirm AWS' first mail."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ .]+$", email))])
    error_message = "alert_emails = ${jsonencode(var.alert_emails)}: addresses such as lab@example.org are allowed."
  }
}

variable "budget_usd" {
  description = "Budget of a month in US dollars; notices at 80 % and 100 %."
  type        = number
  default     = 500

  validation {
    condition     = var.budget_usd > 0
    error_message = "budget_usd = ${var.budget_usd}: an amount above 0 is allowed."
  }
}

variable "check_gpu_quota" {
  description = "Whether a plan compares max_workers with the account's quota, and warns. Needs servicequotas:GetServiceQuota."
  type        = bool
  default     = true
}
