data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  # The one place that says where things lie in the bucket.
  prefixes = {
    source       = "source/"       # kg.csv, questions/
    graph        = "graph/"        # what jobs/build_neighborhoods.py and jobs/embed_entities.py write
    runs         = "runs/"         # one folder a run of jobs/generate.py
    environments = "environments/" # packed Python environments, the project's code, cluster.yaml
    models       = "models/"       # one folder a model, for nodes have no way to a hub
    logs         = "logs/"         # of Ray and Spark
    published    = "published/"    # latest.json: the last run that succeeded
  }

  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  # A PUT that names no encryption gets the bucket's; one that names another, or another key, must not get past it.
  other_encryption = {
    DenyOtherEncryption = { "s3:x-amz-server-side-encryption" = "aws:kms" }
    DenyOtherKeys       = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = aws_kms_key.this.arn }
  }
  bucket_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "DenyInsecureTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }],
      [for sid, required in local.other_encryption : {
        Sid       = sid
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.this.arn}/*"
        Condition = { StringNotEquals = required, Null = { for key in keys(required) : key => "false" } }
      }],
    )
  })
}

resource "aws_kms_key" "this" {
  description             = "${var.name}: bucket, log groups and alerts"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

data "aws_iam_policy_document" "key" {
  # In a key's own policy "*" is this key, and the root principal hands the decision to IAM policies. Without the
  # statement nobody could change the key any more.
  #checkov:skip=CKV_AWS_109:"*" is the key itself
  #checkov:skip=CKV_AWS_111:"*" is the key itself
  #checkov:skip=CKV_AWS_356:"*" is the key itself
  statement {
    sid       = "AccountDecidesByIam"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }
  }

  statement {
    sid       = "LogGroups"
    actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${local.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:*${var.name}*"]
    }
  }

  # The alarm and the budget publish to the encrypted topic by themselves.
  statement {
    sid       = "Alerts"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18:access logs need a second bucket; CloudTrail's data events say the same where a lab wants them
  #checkov:skip=CKV_AWS_144:what is here can be computed again from its sources; a second region would double the bill
  #checkov:skip=CKV2_AWS_62:nothing waits for an object: the schedule compares versions itself
  bucket        = var.bucket
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    # One request to KMS for many objects, not one for each.
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "this" {
  count = var.deny_insecure_transport ? 1 : 0

  bucket     = aws_s3_bucket.this.id
  policy     = local.bucket_policy
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket     = aws_s3_bucket.this.id
  depends_on = [aws_s3_bucket_versioning.this]

  # runs/*/completions/ cannot be said: S3 filters by the beginning of a key, not by its middle. Hence a tag, which
  # `job expire` on the head gives to the completions of a run that succeeded.
  rule {
    id     = "completions"
    status = "Enabled"

    filter {
      tag {
        key   = "lifecycle"
        value = "completions"
      }
    }

    expiration {
      days = var.completions_days
    }
  }

  rule {
    id     = "versions"
    status = "Enabled"

    filter {
      prefix = ""
    }

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    expiration {
      expired_object_delete_marker = true
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}
