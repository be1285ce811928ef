{{- define "longhaul.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "longhaul.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "longhaul.labels" -}}
{{ include "longhaul.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "longhaul.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "longhaul.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "longhaul.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "longhaul.databaseSecret" -}}
{{- required "database.existingSecret must name the Secret with the database's addresses" .Values.database.existingSecret -}}
{{- end -}}

{{/* A variable of a Secret: (list NAME SECRET KEY). */}}
{{- define "longhaul.secretEnv" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end -}}

{{/* The database's addresses for a login: (list ROOT KEY). */}}
{{- define "longhaul.databaseEnv" -}}
{{- $root := index . 0 -}}
{{ include "longhaul.secretEnv" (list "DATABASE_URL" (include "longhaul.databaseSecret" $root) (index . 1)) }}
{{- with $root.Values.database.keys.direct }}
{{ include "longhaul.secretEnv" (list "LONGHAUL_DIRECT_DATABASE_URL" (include "longhaul.databaseSecret" $root) .) }}
{{- end }}
{{- end -}}

{{/* Variables of the Secret with secrets: (list ROOT NAME KEY NAME KEY …). Those without a key are left out. */}}
{{- define "longhaul.secretsEnv" -}}
{{- $root := first . }}
{{- range $pair := chunk 2 (rest .) }}
{{- if index $pair 1 }}
{{ include "longhaul.secretEnv" (list (index $pair 0) (required "secrets.existingSecret must name the Secret with the keys of secrets.keys" $root.Values.secrets.existingSecret) (index $pair 1)) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Keys of the configuration file, as TOML. */}}
{{- define "longhaul.toml" -}}
{{- range $key, $value := . }}
{{ $key }} = {{ if kindIs "float64" $value }}{{ if eq (floor $value) $value }}{{ int64 $value }}{{ else }}{{ $value }}{{ end }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{- end -}}

{{- define "longhaul.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "longhaul.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where the pods of one part go: (dict "root" $ "part" VALUES "labels" SELECTOR). */}}
{{- define "longhaul.placement" -}}
{{- with .part.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
{{- if .part.topologySpreadConstraints }}
  {{- toYaml .part.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- .labels | nindent 8 }}
{{- end }}
{{- end -}}

{{/* The settings of one entry of `workers`, with what it leaves out. */}}
{{- define "longhaul.worker" -}}
{{- mergeOverwrite (deepCopy .root.Values.workerDefaults) (deepCopy (.worker | default dict)) | toYaml -}}
{{- end -}}
