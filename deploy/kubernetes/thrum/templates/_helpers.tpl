{{- define "thrum.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "thrum.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "thrum.labels" -}}
{{ include "thrum.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "thrum.redisSecret" -}}
{{- if .Values.redis.existingSecret }}{{ .Values.redis.existingSecret }}{{ else if .Values.redis.password }}{{ include "thrum.name" . }}-redis{{ end }}
{{- end }}

{{- define "thrum.tlsSecret" -}}
{{- if .Values.tls.existingSecret }}{{ .Values.tls.existingSecret }}{{ else if .Values.tls.certificate }}{{ include "thrum.name" . }}-tls{{ end }}
{{- end }}

{{/* thrum.yaml: what the values say, and over it what `config` says. */}}
{{- define "thrum.config" -}}
{{- if hasKey .Values.config "shutdown" }}{{ fail "set shutdown.graceSeconds and shutdown.spreadSeconds instead of config.shutdown: the pod's own grace follows from them" }}{{ end }}
{{- range list "store" "data_dir" }}
{{- if hasKey $.Values.config . }}{{ fail (printf "leave config.%s out: nothing lasts in the pods, all is kept in Redis" .) }}{{ end }}
{{- end }}
{{- range list "c2s" "c2s_tls" "http" }}
{{- if regexMatch "^[0-9]" (toString (dig . "port" "" $.Values.config)) }}{{ fail (printf "leave config.%s.port out: services and probes are made for the default; service.ports says where clients come in" .) }}{{ end }}
{{- end }}
{{- if dig "redis" "password" "" .Values.config }}{{ fail "set redis.password or redis.existingSecret instead of config.redis.password: it belongs into a Secret" }}{{ end }}
{{- $redis := dict "url" .Values.redis.url "prefix" .Values.redis.prefix "replicas" (int .Values.redis.replicas) }}
{{- if .Values.redis.nodes }}{{ $_ := set $redis "nodes" .Values.redis.nodes }}{{ end }}
{{- if .Values.redis.sentinels }}{{ $_ := set $redis "sentinels" .Values.redis.sentinels }}{{ $_ := set $redis "sentinel_master" .Values.redis.sentinelMaster }}{{ end }}
{{- if .Values.redis.username }}{{ $_ := set $redis "username" .Values.redis.username }}{{ end }}
{{- if .Values.redis.ca }}{{ $_ := set $redis "ca" "/etc/thrum/redis-ca.pem" }}{{ end }}
{{- if .Values.redis.serverName }}{{ $_ := set $redis "server_name" .Values.redis.serverName }}{{ end }}
{{- if .Values.redis.clientSecret }}{{ $_ := set $redis "certificate" "/etc/thrum-redis/tls.crt" }}{{ $_ := set $redis "key" "/etc/thrum-redis/tls.key" }}{{ end }}
{{- $settings := dict
  "domain" .Values.domain
  "data_dir" "/var/lib/thrum"
  "store" "redis"
  "workers" (int .Values.workers)
  "listen_address" "0.0.0.0"
  "redis" $redis
  "shutdown" (dict "grace_seconds" (int .Values.shutdown.graceSeconds) "spread_seconds" (int .Values.shutdown.spreadSeconds))
}}
{{- if .Values.proxyProtocol.enabled }}{{ $_ := set $settings "proxy_protocol" (dict "mode" "required" "trusted" .Values.proxyProtocol.trusted) }}{{ end }}
{{- if include "thrum.tlsSecret" . }}{{ $_ := set $settings "tls" (dict "certificate" "/etc/thrum-tls/tls.crt" "key" "/etc/thrum-tls/tls.key") }}{{ end }}
{{- mergeOverwrite $settings (deepCopy .Values.config) | toYaml }}
{{- end }}

{{/* Where Redis listens, by thrum.yaml, as a list in JSON. The url of Sentinels names no server, but its port is the master's. */}}
{{- define "thrum.redisPorts" -}}
{{- $redis := (include "thrum.config" . | fromYaml).redis }}
{{- $places := concat ($redis.nodes | default list) ($redis.sentinels | default list) }}
{{- if not $redis.nodes }}{{ $places = append $places (regexFind "^rediss?://[^/]*" $redis.url) }}{{ end }}
{{- $ports := list }}
{{- range $places }}{{ $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "6379" | int) }}{{ end }}
{{- $ports | uniq | toJson }}
{{- end }}
