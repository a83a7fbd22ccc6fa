"use strict";
// validatorUrl would send the document to a server elsewhere.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", validatorUrl: null, deepLinking: true });
