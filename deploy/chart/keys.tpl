{{- /* The Secrets' values, one after the other: given, else what is there, else made (an empty line when nothing is to be made). */ -}}
{{- define "culvert.dashboardHost" -}}
{{- .Values.dashboardHost | default (printf "%s:%v" (splitList ":" .Values.previewHost | first) (.Values.dashboardNodePort | default 8444)) -}}
{{- end -}}
{{- define "culvert.keys" -}}
{{- $there := (lookup "v1" "Secret" .Release.Namespace "culvert-manager").data | default dict -}}
{{- $ca := dict -}}
{{- if not (or .Values.caCert (get $there "ca.crt")) -}}
{{- $made := genCAWithKey "culvert" 3650 (genPrivateKey "ecdsa") -}}
{{- $ca = dict "cert" (b64enc $made.Cert) "key" (b64enc $made.Key) -}}
{{- end -}}
{{- $caCert := .Values.caCert | default (get $there "ca.crt") | default $ca.cert -}}
{{- $caKey := .Values.caKey | default (get $there "ca.key") | default $ca.key -}}
overlayKey: {{ .Values.overlayKey | default (get $there "key") | default (printf "%s\n" (randBytes 32) | b64enc) }}
caCert: {{ $caCert }}
caKey: {{ $caKey }}
{{- if or .Values.previewDomain .Values.previewHost }}
{{- $name := splitList ":" (.Values.previewDomain | default .Values.previewHost) | first -}}
{{- $names := list $name -}}
{{- if .Values.previewDomain -}}
{{- $names = append $names (printf "*.%s" $name) -}}
{{- else -}}
{{- $names = append $names (include "culvert.dashboardHost" . | splitList ":" | first) | uniq -}}
{{- end -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace "culvert-gateway" | default dict -}}
{{- $data := $secret.data | default dict -}}
{{- $kept := and (eq (dig "metadata" "annotations" "culvert.dev/names" "" $secret) (join "," $names)) (eq (get $data "ca.crt") $caCert) -}}
{{- $leaf := dict -}}
{{- if $kept -}}
{{- $leaf = dict "cert" (get $data "tls.crt") "key" (get $data "tls.key") -}}
{{- else -}}
{{- $made := genSignedCertWithKey $name (list) $names 825 (buildCustomCert $caCert $caKey) (genPrivateKey "ecdsa") -}}
{{- $leaf = dict "cert" (b64enc $made.Cert) "key" (b64enc $made.Key) -}}
{{- end }}
gatewayNames: {{ join "," $names | quote }}
cookieKey: {{ .Values.cookieKey | default (get $data "cookie.key") | default (printf "%s\n" (randBytes 32) | b64enc) }}
gatewayCert: {{ .Values.gatewayCert | default $leaf.cert }}
gatewayKey: {{ .Values.gatewayKey | default $leaf.key }}
{{- end }}
{{- end -}}
