/* SPDX-License-Identifier: Apache-2.0 */
/* Where a workload's HTTP comes in: objects as the usual controllers' charts and documentation have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "manager/ingress.h"

/* JSON in a form that C can hold: ' in place of ". */
static json_t *objects(const char *text)
{
	char *copy = strdup(text);
	json_error_t e;
	json_t *j;

	for (char *s = copy; *s; s++)
		*s = *s == '\'' ? '"' : *s;
	j = json_loads(copy, 0, &e);
	if (!j)
		fail_msg("%s at %d of %s", e.text, e.position, text);
	free(copy);
	return j;
}

struct given {
	const char *ingresses, *classes, *routes, *gateways, *services;
};

static struct ingress_guess guess(const struct given *g)
{
	json_t *all = objects(g->services ? g->services : "[]"), *services = json_array(), *s;
	json_t *list[4] = {objects(g->ingresses ? g->ingresses : "[]"),
			   objects(g->classes ? g->classes : "[]"),
			   objects(g->routes ? g->routes : "[]"),
			   objects(g->gateways ? g->gateways : "[]")};
	const char *const names[] = {"cart"};
	struct ingress_guess out;
	size_t i;

	/* As the manager keeps them. */
	json_array_foreach(all, i, s)
	{
		if (ingress_may_use(s))
			json_array_append(services, s);
	}
	ingress_guess(&out, &(struct ingress_world){list[0], list[1], list[2], list[3], services},
		      "shop", names, 1);
	for (i = 0; i < ARRAY_SIZE(list); i++)
		json_decref(list[i]);
	json_decref(services);
	json_decref(all);
	return out;
}

static void expect(const struct given *g, const char *host, uint16_t port, bool tls, const char *l5)
{
	struct ingress_guess out = guess(g);

	assert_string_equal(out.host, host);
	assert_int_equal(out.port, port);
	assert_int_equal(out.tls, tls);
	assert_string_equal(out.l5, l5);
	assert_true(*out.why);
}

#define LB(ns, name, labels, ports)                                                                \
	"{'metadata':{'namespace':'" ns "','name':'" name "','labels':{" labels "}},"              \
	"'spec':{'type':'LoadBalancer','clusterIP':'10.96.7.7','ports':[" ports "]},"              \
	"'status':{'loadBalancer':{'ingress':[{'ip':'203.0.113.7'}]}}}"
#define BOTH_PORTS                                                                                 \
	"{'name':'http','port':80,'protocol':'TCP','targetPort':'http','nodePort':30080},"         \
	"{'name':'https','port':443,'protocol':'TCP','targetPort':'https','nodePort':30443}"
#define RULE(host)                                                                                 \
	"{'host':'" host "','http':{'paths':[{'path':'/','pathType':'Prefix',"                     \
	"'backend':{'service':{'name':'cart','port':{'name':'http'}}}}]}}"
#define INGRESS(ns, name, class, tls, rules)                                                       \
	"{'metadata':{'namespace':'" ns "','name':'" name                                          \
	"'},'spec':{'ingressClassName':'" class "','tls':[" tls "],'rules':[" rules "]}}"
#define CLASS(name, controller)                                                                    \
	"{'metadata':{'name':'" name "'},'spec':{'controller':'" controller "'}}"

#define NGINX                                                                                      \
	LB("ingress-nginx", "ingress-nginx-controller",                                            \
	   "'app.kubernetes.io/name':'ingress-nginx','app.kubernetes.io/component':'controller'",  \
	   BOTH_PORTS)
#define NGINX_ADMISSION                                                                            \
	"{'metadata':{'namespace':'ingress-nginx','name':'ingress-nginx-controller-admission',"    \
	"'labels':{'app.kubernetes.io/name':'ingress-nginx'}},'spec':{'type':'ClusterIP',"         \
	"'ports':[{'name':'https-webhook','port':443}]}}"

static void ingress_nginx(void **state)
{
	struct given g = {.ingresses =
				  "[" INGRESS("shop", "web", "nginx",
					      "{'hosts':['shop.example.com'],'secretName':'s'}",
					      RULE("shop.example.com")) "]",
			  .classes = "[" CLASS("nginx", "k8s.io/ingress-nginx") "]",
			  .services = "[" NGINX_ADMISSION "," NGINX "]"};

	(void)state;
	expect(&g, "ingress-nginx-controller.ingress-nginx", 443, true, "shop.example.com");
	/* No TLS for that host. */
	g.ingresses = "[" INGRESS("shop", "web", "nginx", "{'hosts':['other.example.com']}",
				  RULE("shop.example.com")) "]";
	expect(&g, "ingress-nginx-controller.ingress-nginx", 80, false, "shop.example.com");
	/* A wildcard certificate; a class without an object. */
	g.ingresses = "[" INGRESS("shop", "web", "nginx", "{'hosts':['*.example.com']}",
				  RULE("shop.example.com")) "]";
	g.classes = NULL;
	expect(&g, "ingress-nginx-controller.ingress-nginx", 443, true, "shop.example.com");
	/* Without its Service the host has to be asked for, not the rest. */
	g.services = "[" NGINX_ADMISSION "]";
	expect(&g, "", 443, true, "shop.example.com");
}

static void which_ingress(void **state)
{
	struct given g = {
		.ingresses =
			"[" INGRESS("shop", "b", "nginx", "", RULE("b.example.com")) "," INGRESS(
				"shop", "a", "nginx", "",
				RULE("a.example.com")) "," INGRESS("shop", "0", "nginx", "",
								   RULE("*.example.com")) "]",
		.services = "[" NGINX "]"};

	(void)state;
	/* By name; one with a host that can be asked for before one with a pattern. */
	expect(&g, "ingress-nginx-controller.ingress-nginx", 80, false, "a.example.com");
	g.ingresses = "[" INGRESS("shop", "0", "nginx", "", RULE("*.example.com")) "]";
	expect(&g, "ingress-nginx-controller.ingress-nginx", 80, false, "");
	/* Of another service: the controller is all that is known. */
	g.ingresses = "[{'metadata':{'namespace':'shop','name':'x'},'spec':{'rules':[{'host':'x."
		      "example.com','http':{'paths':"
		      "[{'backend':{'service':{'name':'other'}}}]}}]}}]";
	expect(&g, "ingress-nginx-controller.ingress-nginx", 80, false, "");
	/* The default backend, the class by annotation. */
	g.ingresses = "[{'metadata':{'namespace':'shop','name':'x','annotations':{'kubernetes.io/"
		      "ingress.class':'nginx'}},"
		      "'spec':{'defaultBackend':{'service':{'name':'cart'}}}}]";
	expect(&g, "ingress-nginx-controller.ingress-nginx", 80, false, "");
	assert_non_null(strstr(guess(&g).why, "Ingress shop/x"));
}

/* Two of one controller: that whose address the Ingress shows. */
static void published_address(void **state)
{
	struct given g = {
		.ingresses =
			"[{'metadata':{'namespace':'shop','name':'x'},'spec':{'ingressClassName':'"
			"internal','rules':[" RULE("cart.corp") "]},"
								"'status':{'loadBalancer':{'"
								"ingress':[{'ip':'10.0.0.9'}]}}}]",
		.classes = "[" CLASS("internal", "k8s.io/ingress-nginx") "]",
		.services = "[" NGINX ",{'metadata':{'namespace':'internal','name':'z','labels':{'"
			    "app.kubernetes.io/name':'ingress-nginx'}},"
			    "'spec':{'type':'LoadBalancer','ports':[" BOTH_PORTS
			    "]},'status':{'loadBalancer':{'ingress':[{'ip':'10.0.0.9'}]}}}]"};

	(void)state;
	expect(&g, "z.internal", 80, false, "cart.corp");
	/* A cloud's load balancer, which has no Service: itself. */
	g.classes = "[" CLASS("internal", "ingress.k8s.aws/alb") "]";
	g.services = NULL;
	expect(&g, "10.0.0.9", 80, false, "cart.corp");
}

static void one_controller(const char *class, const char *controller, const char *service,
			   const char *host, uint16_t port, uint16_t tls_port)
{
	char plain[2048], tls[2048], classes[512], services[4096];
	struct given g = {.ingresses = plain, .classes = classes, .services = services};

	snprintf(plain, sizeof(plain),
		 "[{'metadata':{'namespace':'shop','name':'x'},'spec':{'ingressClassName':'%s','"
		 "rules':[" RULE("c.example.com") "]}}]",
		 class);
	snprintf(tls, sizeof(tls),
		 "[{'metadata':{'namespace':'shop','name':'x'},'spec':{'ingressClassName':'%s','"
		 "tls':[{'secretName':'s'}],'rules':[" RULE("c.example.com") "]}}]",
		 class);
	snprintf(classes, sizeof(classes),
		 "[{'metadata':{'name':'%s'},'spec':{'controller':'%s'}}]", class, controller);
	snprintf(services, sizeof(services), "[%s]", service);
	expect(&g, host, port, false, "c.example.com");
	g.ingresses = tls;
	expect(&g, host, tls_port, true, "c.example.com");
	/* And where no Ingress leads to it. */
	g.ingresses = NULL;
	expect(&g, host, port, false, "");
}

static void other_controllers(void **state)
{
	(void)state;
	one_controller("traefik", "traefik.io/ingress-controller",
		       LB("kube-system", "traefik", "'app.kubernetes.io/name':'traefik'",
			  "{'name':'web','port':80,'protocol':'TCP'},{'name':'websecure','port':"
			  "443,'protocol':'TCP'},"
			  "{'name':'websecure-http3','port':443,'protocol':'UDP'}"),
		       "traefik.kube-system", 80, 443);
	one_controller("ambassador", "getambassador.io/ingress-controller",
		       LB("emissary", "emissary-ingress",
			  "'app.kubernetes.io/name':'emissary-ingress'",
			  BOTH_PORTS) ",{'metadata':{'namespace':'emissary','name':'emissary-"
				      "ingress-admin','labels':"
				      "{'app.kubernetes.io/"
				      "name':'emissary-ingress'}},'spec':{'type':'ClusterIP',"
				      "'ports':[{'name':'ambassador-admin','port':8877}]}}",
		       "emissary-ingress.emissary", 80, 443);
	/* As its quickstart makes it: no labels, but a selector. */
	one_controller("contour", "projectcontour.io/projectcontour/contour",
		       "{'metadata':{'namespace':'projectcontour','name':'envoy'},'spec':{'type':'"
		       "LoadBalancer',"
		       "'selector':{'app':'envoy'},'ports':[" BOTH_PORTS "]}}",
		       "envoy.projectcontour", 80, 443);
	one_controller(
		"kong", "ingress-controllers.konghq.com/kong",
		"{'metadata':{'namespace':'kong','name':'kong-kong-manager','labels':{'app."
		"kubernetes.io/name':'kong'}},"
		"'spec':{'type':'NodePort','ports':[{'name':'kong-manager','port':8002}]}}," LB(
			"kong", "kong-kong-proxy", "'app.kubernetes.io/name':'kong'",
			"{'name':'kong-proxy','port':80},{'name':'kong-proxy-tls','port':443}"),
		"kong-kong-proxy.kong", 80, 443);
	one_controller("haproxy", "haproxy-ingress.github.io/controller",
		       "{'metadata':{'namespace':'haproxy','name':'haproxy-ingress','labels':{'app."
		       "kubernetes.io/name':"
		       "'haproxy-ingress'}},'spec':{'type':'NodePort','ports':[{'name':'stat','"
		       "port':1936}," BOTH_PORTS "]}}",
		       "haproxy-ingress.haproxy", 80, 443);
	one_controller(
		"haproxy", "haproxy.org/ingress-controller/haproxy",
		"{'metadata':{'namespace':'haproxy-controller','name':'haproxy-kubernetes-ingress',"
		"'labels':"
		"{'app.kubernetes.io/"
		"name':'kubernetes-ingress'}},'spec':{'type':'LoadBalancer','ports':[" BOTH_PORTS
		",{'name':'stat','port':1024}]}}",
		"haproxy-kubernetes-ingress.haproxy-controller", 80, 443);
	one_controller("istio", "istio.io/ingress-controller",
		       LB("istio-system", "istio-ingressgateway",
			  "'app':'istio-ingressgateway','istio':'ingressgateway'",
			  "{'name':'status-port','port':15021},{'name':'http2','port':80},{'name':'"
			  "https','port':443}"),
		       "istio-ingressgateway.istio-system", 80, 443);
	/* Ports of its own. */
	one_controller("nginx", "nginx.org/ingress-controller",
		       "{'metadata':{'namespace':'n','name':'nic','labels':{'app.kubernetes.io/"
		       "name':'nginx-ingress'}},'spec':"
		       "{'type':'NodePort','ports':[{'name':'http','port':8080},{'name':'https','"
		       "port':8443}]}}",
		       "nic.n", 8080, 8443);
}

#define ROUTE(more)                                                                                \
	"{'metadata':{'namespace':'shop','name':'cart'},'spec':{'parentRefs':[{'name':'public',"   \
	"'namespace':'infra'" more "}],'hostnames':['cart.example.com'],"                          \
	"'rules':[{'backendRefs':[{'name':'cart','port':80}]}]}}"
#define GATEWAY                                                                                    \
	"{'metadata':{'namespace':'infra','name':'public'},'spec':{'gatewayClassName':'istio','"   \
	"listeners':["                                                                             \
	"{'name':'plain','port':80,'protocol':'HTTP'},"                                            \
	"{'name':'tls','port':8443,'protocol':'HTTPS','hostname':'*.example.com'}]},"              \
	"'status':{'addresses':[{'type':'IPAddress','value':'203.0.113.9'}]}}"

static void gateway_api(void **state)
{
	struct given g = {.routes = "[" ROUTE("") "]", .gateways = "[" GATEWAY "]"};

	(void)state;
	expect(&g, "203.0.113.9", 8443, true, "cart.example.com");
	g.routes = "[" ROUTE(",'sectionName':'plain'") "]";
	expect(&g, "203.0.113.9", 80, false, "cart.example.com");
	/* Istio's, made for the Gateway. */
	g.services = "[{'metadata':{'namespace':'infra','name':'public-istio','labels':{'gateway."
		     "networking.k8s.io/gateway-name':'public'}},"
		     "'spec':{'type':'ClusterIP','ports':[{'name':'plain','port':80},{'name':'tls',"
		     "'port':8443}]}}]";
	expect(&g, "public-istio.infra", 80, false, "cart.example.com");
	g.routes = "[" ROUTE("") "]";
	/* Its name is not among those that are known, its number is the listener's. */
	expect(&g, "public-istio.infra", 8443, true, "cart.example.com");
	/* Envoy Gateway's, in another namespace. */
	g.services = "[{'metadata':{'namespace':'envoy-gateway-system','name':'envoy-infra-public-"
		     "1','labels':"
		     "{'gateway.envoyproxy.io/owning-gateway-name':'public','gateway.envoyproxy.io/"
		     "owning-gateway-namespace':'infra'}},"
		     "'spec':{'type':'LoadBalancer','ports':[{'name':'http-80','port':80},{'name':'"
		     "https-8443','port':8443}]}}]";
	expect(&g, "envoy-infra-public-1.envoy-gateway-system", 8443, true, "cart.example.com");
	/* A route to another namespace's service of that name, and one to a gateway that is not there. */
	g.routes = "[{'metadata':{'namespace':'shop','name':'r'},'spec':{'parentRefs':[{'name':'"
		   "public','namespace':'infra'}],'rules':"
		   "[{'backendRefs':[{'name':'cart','namespace':'other'}]}]}}]";
	assert_int_equal(*guess(&g).host, '\0');
	g.routes = "[{'metadata':{'namespace':'shop','name':'r'},'spec':{'parentRefs':[{'name':'"
		   "public'}],'rules':"
		   "[{'backendRefs':[{'name':'cart'}]}]}}]";
	assert_int_equal(*guess(&g).host, '\0');
}

static void nothing(void **state)
{
	struct given g = {.services = "[{'metadata':{'namespace':'shop','name':'cart'},'spec':{'"
				      "type':'LoadBalancer','ports':[" BOTH_PORTS "]}}]"};

	(void)state;
	/* A load balancer, but no ingress controller. */
	expect(&g, "", 0, false, "");
	g.ingresses = "[17,{},{'metadata':[],'spec':{'rules':{'a':1}}},{'spec':{'rules':[{'http':{'"
		      "paths':[null,{'backend':3}]}}]}}]";
	g.routes = "[{'spec':{'rules':[{'backendRefs':[{'name':'cart'}]}],'parentRefs':7}},null]";
	g.gateways = "['x']";
	g.services = "[null,{'spec':{'type':'LoadBalancer','ports':{}}},{'metadata':{'labels':{'"
		     "app.kubernetes.io/name':'traefik'}},"
		     "'spec':{'ports':[{'port':-1},{'port':99999},{'name':'web','port':'x'}]}}]";
	expect(&g, "", 0, false, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ingress_nginx),     cmocka_unit_test(which_ingress),
		cmocka_unit_test(published_address), cmocka_unit_test(other_controllers),
		cmocka_unit_test(gateway_api),	     cmocka_unit_test(nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
