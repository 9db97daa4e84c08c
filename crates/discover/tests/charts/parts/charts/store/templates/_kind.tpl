{{- define "store.kind" -}}defined by the store{{- end }}
