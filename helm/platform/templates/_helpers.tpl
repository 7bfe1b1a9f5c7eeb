{{- define "ol.labels" -}}
app.kubernetes.io/part-of: ol-data-platform
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* A rule to a named peer: its addresses and ports. A name that means nothing, or nobody, ends the rendering. */}}
{{- define "ol.peer" -}}
{{- $peer := get .root.Values.peers .name -}}
{{- if not $peer }}{{ fail (printf "%s: %q is neither a role nor one of peers: %s" .where .name (keys .root.Values.peers | sortAlpha | join ", ")) }}{{ end -}}
{{- if not $peer.to }}{{ fail (printf "peers.%s.to: found nothing, and %s needs it; give its addresses, for example --set peers.%s.to[0].ipBlock.cidr=10.1.0.0/16" .name .where .name) }}{{ end -}}
to: {{ toJson $peer.to }}
ports: {{ toJson $peer.ports }}
{{- end }}

{{/* A rule to an Airflow role: its pods and the port they listen on. */}}
{{- define "ol.port" -}}
{{- get (dict "api-server" 8080 "pgbouncer" 6543 "scheduler-logs" 8793 "triggerer-logs" 8794) . -}}
{{- end }}
