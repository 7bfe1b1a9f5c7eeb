-- What is sold, with its current price: MITx Online keeps that on the product, xPRO on the product's newest version.
with mitxpro_prices as (
  select
    product_id,
    max_by(productversion_price, productversion_id) as product_price,
    max_by(productversion_description, productversion_id) as product_description
  from {{ ref('stg__mitxpro__app__postgres__ecommerce_productversion') }}
  group by product_id
),

products as (
  select
    'mitxonline' as platform,
    products.product_id,
    content_types.contenttype_name,
    products.product_object_id,
    products.product_price,
    products.product_description,
    products.product_is_active,
    products.product_created_on,
    products.product_updated_on
  from {{ ref('stg__mitxonline__app__postgres__ecommerce_product') }} as products
  left join {{ ref('stg__mitxonline__app__postgres__django_content_type') }} as content_types on content_types.contenttype_id = products.contenttype_id

  union all

  select
    'xpro',
    products.product_id,
    content_types.contenttype_name,
    products.product_object_id,
    mitxpro_prices.product_price,
    mitxpro_prices.product_description,
    products.product_is_active,
    products.product_created_on,
    products.product_updated_on
  from {{ ref('stg__mitxpro__app__postgres__ecommerce_product') }} as products
  left join {{ ref('stg__mitxpro__app__postgres__django_content_type') }} as content_types on content_types.contenttype_id = products.contenttype_id
  left join mitxpro_prices on mitxpro_prices.product_id = products.product_id
),

programs as (
  select 'mitxonline' as platform, program_id, program_readable_id, program_title from {{ ref('stg__mitxonline__app__postgres__courses_program') }}
  union all
  select 'xpro', program_id, program_readable_id, program_title from {{ ref('stg__mitxpro__app__postgres__courses_program') }}
)

select
  {{ surrogate_key(['products.platform', 'products.product_id']) }} as product_key,
  products.platform,
  products.product_id,
  case products.contenttype_name when 'courses.courserun' then 'course run' when 'courses.program' then 'program' end as product_type,
  course_runs.courserun_key,
  coalesce(course_runs.courserun_readable_id, programs.program_readable_id) as product_readable_id,
  coalesce(course_runs.courserun_title, programs.program_title) as product_title,
  products.product_price,
  products.product_description,
  products.product_is_active,
  products.product_created_on,
  products.product_updated_on
from products
left join {{ ref('int__combined__course_runs') }} as course_runs
  on products.contenttype_name = 'courses.courserun'
  and course_runs.platform = products.platform and course_runs.courserun_id = products.product_object_id
left join programs
  on products.contenttype_name = 'courses.program' and programs.platform = products.platform and programs.program_id = products.product_object_id
