{{- define "keygauge.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "keygauge.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "keygauge.labels" -}}
{{ include "keygauge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "keygauge.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "keygauge.fullname" .) .Values.serviceAccount.name }}
{{- else -}}{{ default "default" .Values.serviceAccount.name }}{{ end -}}
{{- end }}

{{- define "keygauge.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "keygauge.secret" -}}
{{ required "existingSecret: give the name of a Secret with database-url, service-token, admin-token and pepper" .Values.existingSecret }}
{{- end }}

{{- define "keygauge.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "keygauge.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "keygauge.databaseEnv" -}}
- name: KEYGAUGE_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ include "keygauge.secret" . }}, key: {{ .Values.secretKeys.databaseUrl }}}}
{{- end }}

{{- define "keygauge.proxies" -}}
{{- if ne (toString .Values.proxies) "" }}{{ .Values.proxies }}{{ else }}{{ ternary 1 0 .Values.ingress.enabled }}{{ end -}}
{{- end }}

{{- define "keygauge.publicUrl" -}}
{{- if or .Values.publicUrl (not .Values.ingress.enabled) }}{{ .Values.publicUrl }}
{{- else }}{{ ternary "https" "http" (not (empty .Values.ingress.tlsSecret)) }}://{{ .Values.ingress.host }}{{ end -}}
{{- end }}
