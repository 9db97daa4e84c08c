{{- define "shared.image" -}}
{{- $registry := .root.Values.global.registry | default "none" -}}
{{ printf "%s/%s:%v" $registry .image .root.Values.shared.tag }}
{{- end }}
