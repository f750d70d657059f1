{{- define "tagway.labels" -}}
app.kubernetes.io/name: tagway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
