{{- define "parts.name" -}}parts of {{ .Release.Name }}{{- end }}
{{- define "store.kind" -}}defined by the parent{{- end }}
