{{- /* The Secret's three values, one after the other: given, else what is there, else made (an empty line when nothing is to be made). */ -}}
{{- define "culvert.keys" -}}
{{- $there := (lookup "v1" "Secret" .Release.Namespace "culvert-manager").data | default dict -}}
{{- $ca := dict -}}
{{- if not (or .Values.caCert (get $there "ca.crt")) -}}
{{- $made := genCAWithKey "culvert" 3650 (genPrivateKey "ecdsa") -}}
{{- $ca = dict "cert" (b64enc $made.Cert) "key" (b64enc $made.Key) -}}
{{- end -}}
overlayKey: {{ .Values.overlayKey | default (get $there "key") | default (printf "%s\n" (randBytes 32) | b64enc) }}
caCert: {{ .Values.caCert | default (get $there "ca.crt") | default $ca.cert }}
caKey: {{ .Values.caKey | default (get $there "ca.key") | default $ca.key }}
{{- end -}}
